/* A stand-in for CUDA's runtime: memory and copies are real, kernels do nothing, and everything asked for is counted. */
#pragma once
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is counted since the last reset; live_bytes is what is allocated now. What a graph does when it is launched counts
 * apart (replayed): it costs the host nothing. */
#define COUNTERS(counter)                                                                                              \
    counter(host_to_device) counter(host_to_device_bytes) counter(device_to_host) counter(device_to_host_bytes)        \
    counter(device_to_device) counter(device_to_device_bytes) counter(memsets) counter(kernels) counter(products)      \
    counter(captures) counter(graph_launches) counter(replayed) counter(stream_synchronizations)                       \
    counter(device_synchronizations) counter(event_synchronizations) counter(blocking_copies) counter(allocations)     \
    counter(allocated_bytes) counter(host_allocations) counter(live_bytes)

enum counter {
#define AS_ENUM(name) name,
    COUNTERS(AS_ENUM)
#undef AS_ENUM
        num_counters
};

void count(enum counter which, int64_t by);

/* What a range lies in: live memory of the device, pinned memory of the host, or memory that CUDA does not know. */
enum cudaMemoryType memory_type(const void *address, size_t bytes);

/* A copy or a memset: what a stream executes, or a graph when it is launched. */
struct command {
    void *target;
    const void *source; /* NULL: set every byte to `value` */
    size_t row_bytes, num_rows, target_pitch, source_pitch;
    int value;
};

void execute(const struct command *command);

/* Record a command where the stream is being captured, and say so; `NULL` records a kernel. */
bool record(cudaStream_t stream, const struct command *command);

/* Whether any stream is being captured: then what would wait or allocate is an error. Or whether this one is. */
bool is_capturing(void);
bool is_captured(cudaStream_t stream);
