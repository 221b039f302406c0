/* Kernels: they are registered, found and launched, and do nothing. */
#include "stand_in.h"
#include <string.h>

static void *registered[8];

void **__cudaRegisterFatBinary(void *binary) { return registered; }

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = (cudaKernel_t)function;
    return cudaSuccess;
}
cudaError_t cudaLibraryLoadData(cudaLibrary_t *library, const void *code, enum cudaJitOption *options, void **values,
                                unsigned num_options, enum cudaLibraryOption *library_options, void **library_values,
                                unsigned num_library_options) {
    *library = (cudaLibrary_t)registered;
    return cudaSuccess;
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t *kernel, cudaLibrary_t library, const char *name) {
    *kernel = (cudaKernel_t)registered;
    return cudaSuccess;
}

static cudaError_t launch(cudaStream_t stream) {
    if (!record(stream, NULL)) count(kernels, 1);
    return cudaSuccess;
}

static _Thread_local cudaLaunchConfig_t pushed; /* between `<<<...>>>` and the launch that the compiler makes of it */

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream) {
    pushed = (cudaLaunchConfig_t){grid, block, shared_bytes, stream};
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared_bytes, cudaStream_t *stream) {
    *grid = pushed.gridDim, *block = pushed.blockDim, *shared_bytes = pushed.dynamicSmemBytes, *stream = pushed.stream;
    return cudaSuccess;
}
cudaError_t cudaLaunchKernel(
    const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream) {
    return launch(stream);
}
cudaError_t __cudaLaunchKernel(
    cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream) {
    return launch(stream);
}
cudaError_t cudaLaunchCooperativeKernel(
    const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream) {
    return launch(stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *function, void **arguments) {
    return launch(configuration->stream);
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = 90;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int *number, const void *function, int block_size, size_t shared_bytes, unsigned flags) {
    *number = 2;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    default: return "an error of the stand-in";
    }
}
const char *cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

static int succeed(void) { return 0; }

/* The driver's functions that kernels are prepared with (the layout of tensors for asynchronous copies). */
cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                             unsigned long long flags, enum cudaDriverEntryPointQueryResult *result) {
    *function = (void *)succeed;
    if (result) *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
