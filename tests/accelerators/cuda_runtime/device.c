/* The device: what an H100 says of itself, as far as ONNX Runtime asks. */
#include "stand_in.h"
#include <string.h>

enum { MULTIPROCESSORS = 132, MAX_THREADS = 1024, SHARED_BYTES = 49152, MAX_SHARED_BYTES = 232448 };
static int major_version = 9, minor_version;

/* Set the compute capability, before the first session is made. */
void stand_in_set_capability(int major, int minor) { major_version = major, minor_version = minor; }

cudaError_t cudaGetDeviceCount(int *number) { return *number = 1, cudaSuccess; }
cudaError_t cudaGetDevice(int *index) { return *index = 0, cudaSuccess; }
cudaError_t cudaSetDevice(int index) { return index ? cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = CUDART_VERSION, cudaSuccess; }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int index) {
    size_t free_bytes;
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "stand-in");
    properties->major = major_version;
    properties->minor = minor_version;
    cudaMemGetInfo(&free_bytes, &properties->totalGlobalMem);
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->maxThreadsPerBlock = MAX_THREADS;
    properties->maxThreadsPerMultiProcessor = 2 * MAX_THREADS;
    properties->sharedMemPerBlock = SHARED_BYTES;
    properties->sharedMemPerBlockOptin = MAX_SHARED_BYTES;
    properties->sharedMemPerMultiprocessor = MAX_SHARED_BYTES + 1024;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->l2CacheSize = 50 << 20;
    properties->warpSize = 32;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = MAX_THREADS;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 2147483647;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->concurrentKernels = properties->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int index) {
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = major_version; break;
    case cudaDevAttrComputeCapabilityMinor: *value = minor_version; break;
    case cudaDevAttrMultiProcessorCount: *value = MULTIPROCESSORS; break;
    case cudaDevAttrMaxThreadsPerBlock: *value = MAX_THREADS; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2 * MAX_THREADS; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = SHARED_BYTES; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = MAX_SHARED_BYTES; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = MAX_SHARED_BYTES + 1024; break;
    case cudaDevAttrMaxRegistersPerBlock:
    case cudaDevAttrMaxRegistersPerMultiprocessor: *value = 65536; break;
    case cudaDevAttrWarpSize: *value = 32; break;
    default: *value = 1; /* it can whatever is asked */
    }
    return cudaSuccess;
}
