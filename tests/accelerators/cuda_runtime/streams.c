/* Streams and events, which have nothing to wait for, and graphs: what is captured is executed when it is launched. */
#include "stand_in.h"
#include <stdlib.h>

struct CUgraph_st {
    struct command *commands;
    size_t num_commands, num_kernels;
    int num_owners;
};

static cudaStream_t captured; /* at most one at a time */
static cudaGraph_t recording;

bool is_capturing(void) { return recording != NULL; }
bool is_captured(cudaStream_t stream) { return recording && stream == captured; }

bool record(cudaStream_t stream, const struct command *command) {
    if (!is_captured(stream)) return false;
    if (!command) {
        recording->num_kernels++;
        return true;
    }
    size_t bytes = ++recording->num_commands * sizeof *command;
    recording->commands = realloc(recording->commands, bytes);
    recording->commands[recording->num_commands - 1] = *command;
    return true;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    if (recording) return cudaErrorIllegalState;
    captured = stream;
    recording = calloc(1, sizeof *recording);
    recording->num_owners = 1;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    if (!is_captured(stream)) return cudaErrorIllegalState;
    *graph = recording;
    recording = NULL;
    count(captures, 1);
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = is_captured(stream) ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

static cudaError_t drop(cudaGraph_t graph) {
    if (--graph->num_owners == 0) {
        free(graph->commands);
        free(graph);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags) {
    graph->num_owners++;
    *executable = (cudaGraphExec_t)graph;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return drop(graph); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return drop((cudaGraph_t)executable); }

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    cudaGraph_t graph = (cudaGraph_t)executable;
    count(graph_launches, 1);
    count(replayed, graph->num_commands + graph->num_kernels);
    for (size_t index = 0; index < graph->num_commands; index++) {
        const struct command *command = &graph->commands[index];
        if (memory_type(command->target, 1) != cudaMemoryTypeDevice &&
            memory_type(command->source, 1) != cudaMemoryTypeDevice)
            return cudaErrorIllegalAddress; /* it was freed */
        execute(command);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (recording) return cudaErrorStreamCaptureUnsupported;
    count(stream_synchronizations, 1);
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    if (recording) return cudaErrorStreamCaptureUnsupported;
    count(device_synchronizations, 1);
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (recording) return cudaErrorStreamCaptureUnsupported;
    count(event_synchronizations, 1);
    return cudaSuccess;
}

static cudaError_t create(void **handle) {
    *handle = malloc(1);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) { return create((void **)stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) { return create((void **)stream); }
cudaError_t cudaEventCreate(cudaEvent_t *event) { return create((void **)event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) { return create((void **)event); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return free(stream), cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return free(event), cudaSuccess; }

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    *milliseconds = 1;
    return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
    function(data);
    return cudaSuccess;
}
