/* Copies and memsets: executed at once, or recorded where their stream is being captured. */
#include "stand_in.h"
#include <string.h>

void execute(const struct command *command) {
    for (size_t row = 0; row < command->num_rows; row++) {
        char *target = (char *)command->target + row * command->target_pitch;
        if (command->source) memmove(target, (const char *)command->source + row * command->source_pitch, command->row_bytes);
        else memset(target, command->value, command->row_bytes);
    }
}

static void count_copy(enum cudaMemcpyKind kind, size_t bytes) {
    switch (kind) {
    case cudaMemcpyHostToDevice: count(host_to_device, 1), count(host_to_device_bytes, bytes); break;
    case cudaMemcpyDeviceToHost: count(device_to_host, 1), count(device_to_host_bytes, bytes); break;
    case cudaMemcpyDeviceToDevice: count(device_to_device, 1), count(device_to_device_bytes, bytes); break;
    default: break;
    }
}

/* The kind that is meant; the device's side has to be live memory of the device, or the kind is -1. */
static enum cudaMemcpyKind checked(enum cudaMemcpyKind kind, const struct command *copy) {
    bool to_device = memory_type(copy->target, copy->row_bytes) == cudaMemoryTypeDevice;
    bool from_device = memory_type(copy->source, copy->row_bytes) == cudaMemoryTypeDevice;
    enum cudaMemcpyKind found = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                                          : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
    return kind == cudaMemcpyDefault || kind == found ? found : -1;
}

static cudaError_t copy(const struct command *command, enum cudaMemcpyKind kind, cudaStream_t stream) {
    size_t bytes = command->row_bytes * command->num_rows;
    if (!bytes) return cudaSuccess;
    if ((int)(kind = checked(kind, command)) < 0) return cudaErrorInvalidValue;
    if (is_captured(stream) && kind == cudaMemcpyDeviceToHost &&
        memory_type(command->target, command->row_bytes) == cudaMemoryTypeUnregistered)
        return cudaErrorStreamCaptureUnsupported; /* it returns when it is done, but nothing is done before a launch */
    if (record(stream, command)) return cudaSuccess;
    count_copy(kind, bytes);
    execute(command);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(
    void *target, const void *source, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    return copy(&(struct command){target, source, bytes, 1}, kind, stream);
}

cudaError_t cudaMemcpy(void *target, const void *source, size_t bytes, enum cudaMemcpyKind kind) {
    if (is_capturing()) return cudaErrorStreamCaptureUnsupported;
    count(blocking_copies, 1);
    return copy(&(struct command){target, source, bytes, 1}, kind, NULL);
}

cudaError_t cudaMemcpy2DAsync(void *target, size_t target_pitch, const void *source, size_t source_pitch, size_t width,
                              size_t height, enum cudaMemcpyKind kind, cudaStream_t stream) {
    return copy(&(struct command){target, source, width, height, target_pitch, source_pitch}, kind, stream);
}

cudaError_t cudaMemcpyFromSymbol(
    void *target, const void *symbol, size_t bytes, size_t offset, enum cudaMemcpyKind kind) {
    memset(target, 0, bytes); /* variables of kernels are not there */
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *target, int value, size_t bytes, cudaStream_t stream) {
    if (bytes && memory_type(target, bytes) != cudaMemoryTypeDevice) return cudaErrorInvalidValue;
    struct command command = {target, NULL, bytes, 1, .value = value};
    if (record(stream, &command)) return cudaSuccess;
    count(memsets, 1);
    execute(&command);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *target, int value, size_t bytes) { return cudaMemsetAsync(target, value, bytes, NULL); }
