/* Memory of the device, which is the host's: untouched pages cost nothing, and there is as much as a test says. */
#define _GNU_SOURCE
#include "stand_in.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096

struct block { /* lies on a page of its own, before the memory itself */
    struct block *previous, *next;
    size_t bytes;
    enum cudaMemoryType type;
};

static struct block *blocks;
static size_t capacity = 80ul << 30, used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Say how much memory the device has, what is allocated included. */
void stand_in_set_memory(size_t bytes) { capacity = bytes; }

static struct block *block_of(const void *address, size_t bytes) {
    const char *start = address;
    for (struct block *block = blocks; block; block = block->next) {
        const char *memory = (const char *)block + PAGE;
        if (start >= memory && start + bytes <= memory + block->bytes) return block;
    }
    return NULL;
}

static cudaError_t allocate(void **memory, size_t bytes, enum cudaMemoryType type) {
    bool on_device = type == cudaMemoryTypeDevice;
    if (is_capturing()) return cudaErrorStreamCaptureUnsupported;
    pthread_mutex_lock(&lock);
    struct block *block = MAP_FAILED;
    if (!on_device || used + bytes <= capacity)
        block = mmap(NULL, bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block != MAP_FAILED) {
        *block = (struct block){NULL, blocks, bytes, type};
        if (blocks) blocks->previous = block;
        blocks = block;
        used += on_device ? bytes : 0;
        *memory = (char *)block + PAGE;
    }
    pthread_mutex_unlock(&lock);
    if (block == MAP_FAILED) return cudaErrorMemoryAllocation;
    count(on_device ? allocations : host_allocations, 1);
    count(allocated_bytes, on_device ? bytes : 0);
    count(live_bytes, on_device ? bytes : 0);
    return cudaSuccess;
}

static cudaError_t release(void *memory) {
    if (!memory) return cudaSuccess;
    pthread_mutex_lock(&lock);
    struct block *block = block_of(memory, 0);
    if (block && (char *)block + PAGE == memory) {
        if (block->previous) block->previous->next = block->next;
        else blocks = block->next;
        if (block->next) block->next->previous = block->previous;
        int64_t bytes = block->type == cudaMemoryTypeDevice ? block->bytes : 0;
        used -= bytes;
        count(live_bytes, -bytes);
        munmap(block, block->bytes + PAGE);
    } else {
        block = NULL;
    }
    pthread_mutex_unlock(&lock);
    return block ? cudaSuccess : cudaErrorInvalidValue;
}

enum cudaMemoryType memory_type(const void *address, size_t bytes) {
    pthread_mutex_lock(&lock);
    struct block *block = block_of(address, bytes);
    enum cudaMemoryType type = block ? block->type : cudaMemoryTypeUnregistered;
    pthread_mutex_unlock(&lock);
    return type;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) { return allocate(memory, bytes, cudaMemoryTypeDevice); }
cudaError_t cudaMallocFromPoolAsync(void **memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
    return allocate(memory, bytes, cudaMemoryTypeDevice);
}
cudaError_t cudaMallocHost(void **memory, size_t bytes) { return allocate(memory, bytes, cudaMemoryTypeHost); }
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags) {
    return allocate(memory, bytes, cudaMemoryTypeHost);
}
cudaError_t cudaFree(void *memory) { return release(memory); }
cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream) { return release(memory); }
cudaError_t cudaFreeHost(void *memory) { return release(memory); }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    *total_bytes = capacity;
    *free_bytes = used < capacity ? capacity - used : 0;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *address) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = memory_type(address, 0);
    attributes->devicePointer = attributes->type == cudaMemoryTypeUnregistered ? NULL : (void *)address;
    attributes->hostPointer = attributes->type == cudaMemoryTypeDevice ? NULL : (void *)address;
    return cudaSuccess;
}
