/* A libcuda.so.1 without a GPU: device memory is malloc, kernels are counted and their arguments kept, not run. It lets
 * the whole host side (allocator, copies, cache, argument packing, launch) run in tests. Handles are small made-up
 * numbers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default"))) int
enum { SUCCESS = 0, OUT_OF_MEMORY = 2, NOT_SUPPORTED = 801 };
enum { MAX_THREADS = 1, WARP_SIZE = 10, CC_MAJOR = 75, CC_MINOR = 76, MEMORY_POOLS = 115 }; /* CUdevice_attribute */

static void *current_context;
static int launches, live_blocks, words;
static uint64_t word[64];
static unsigned geometry[7];

/* ---- what tests ask ---- */

API fake_launches(void) { return launches; }
API fake_live_blocks(void) { return live_blocks; }
API fake_expect_words(int n) { return words = n; } /* how many 8-byte arguments the next launches carry */
__attribute__((visibility("default"))) uint64_t fake_word(int i) { return word[i]; }
__attribute__((visibility("default"))) unsigned fake_geometry(int i) { return geometry[i]; }

/* ---- what the driver answers ---- */

static int not_supported(void) { return NOT_SUPPORTED; }

API cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status) {
    static const char *const suffixes[] = {"_v3", "_v2", ""};
    char full[128];
    void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    (void)version, (void)flags;
    *function = NULL;
    for (int i = 0; i < 3 && self && !*function; i++) {
        snprintf(full, sizeof full, "%s%s", name, suffixes[i]);
        *function = dlsym(self, full);
    }
    if (!*function) *function = (void *)not_supported;
    if (status) *status = 0;
    return SUCCESS;
}

API cuGetErrorName(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_NOT_SUPPORTED";
    return SUCCESS;
}
API cuGetErrorString(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : "operation not supported";
    return SUCCESS;
}

API cuInit(unsigned flags) { return (void)flags, SUCCESS; }
API cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
API cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
API cuDeviceGet(int *device, int i) { return *device = i, SUCCESS; }
API cuDeviceGetName(char *name, int n, int device) { return (void)device, snprintf(name, (size_t)n, "fake"), SUCCESS; }
API cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == CC_MAJOR      ? 9
             : attribute == CC_MINOR    ? 0
             : attribute == WARP_SIZE   ? 32
             : attribute == MAX_THREADS ? 1024
                                        : 1;
    return SUCCESS;
}

API cuDevicePrimaryCtxRetain(void **context, int device) { return (void)device, *context = (void *)0x10, SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(int device) { return (void)device, SUCCESS; }
API cuCtxSetCurrent(void *context) { return current_context = context, SUCCESS; }
API cuCtxGetCurrent(void **context) { return *context = current_context, SUCCESS; }
API cuCtxGetDevice(int *device) { return *device = 0, SUCCESS; }
API cuCtxPushCurrent_v2(void *context) { return current_context = context, SUCCESS; }
API cuCtxPopCurrent_v2(void **context) { return *context = current_context, SUCCESS; }
API cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, SUCCESS; }

API cuStreamCreateWithPriority(void **s, unsigned f, int p) { return (void)f, (void)p, *s = (void *)0x20, SUCCESS; }
API cuStreamDestroy_v2(void *stream) { return (void)stream, SUCCESS; }
API cuStreamSynchronize(void *stream) { return (void)stream, SUCCESS; }
API cuStreamIsCapturing(void *stream, int *capturing) { return (void)stream, *capturing = 0, SUCCESS; }
API cuStreamGetCtx(void *stream, void **context) { return (void)stream, *context = (void *)0x10, SUCCESS; }
API cuStreamGetDevice(void *stream, int *device) { return (void)stream, *device = 0, SUCCESS; }

API cuDeviceGetMemPool(void **pool, int device) { return (void)device, *pool = (void *)0x30, SUCCESS; }
API cuMemPoolGetAttribute(void *pool, int a, void *v) { return (void)pool, (void)a, *(uint64_t *)v = 0, SUCCESS; }
API cuMemPoolSetAttribute(void *pool, int a, void *v) { return (void)pool, (void)a, (void)v, SUCCESS; }
API cuMemAllocFromPoolAsync(uint64_t *address, size_t nbytes, void *pool, void *stream) {
    (void)pool, (void)stream;
    if (nbytes > (size_t)1 << 30) return OUT_OF_MEMORY;
    *address = (uintptr_t)malloc(nbytes);
    live_blocks++;
    return SUCCESS;
}
API cuMemFreeAsync(uint64_t address, void *stream) {
    (void)stream;
    free((void *)(uintptr_t)address);
    live_blocks--;
    return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t nbytes, void *stream) {
    return (void)stream, memcpy((void *)(uintptr_t)to, from, nbytes), SUCCESS;
}
API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t nbytes, void *stream) {
    return (void)stream, memcpy(to, (void *)(uintptr_t)from, nbytes), SUCCESS;
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t nbytes, void *stream) {
    return (void)stream, memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, nbytes), SUCCESS;
}

API cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned n, void *c, void *d, unsigned m) {
    (void)code, (void)a, (void)b, (void)n, (void)c, (void)d, (void)m;
    return *library = (void *)0x40, SUCCESS;
}
API cuLibraryUnload(void *library) { return (void)library, SUCCESS; }
API cuLibraryGetKernel(void **kernel, void *library, const char *name) {
    return (void)library, *kernel = strdup(name), SUCCESS; /* lives as long as the process */
}
API cuKernelGetFunction(void **function, void *kernel) { return *function = kernel, SUCCESS; }
API cuKernelGetAttribute(int *value, int a, void *kernel, int device) {
    return (void)a, (void)kernel, (void)device, *value = 0, SUCCESS;
}

API cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    const unsigned now[7] = {gx, gy, gz, bx, by, bz, shared};
    (void)kernel, (void)stream, (void)extra;
    memcpy(geometry, now, sizeof now);
    for (int i = 0; i < words; i++) memcpy(&word[i], parameters[i], 8);
    launches++;
    return SUCCESS;
}
typedef struct {
    unsigned grid[3], block[3], shared;
    void *stream, *attributes;
    unsigned count;
} launch_config;
API cuLaunchKernelEx(const launch_config *c, void *kernel, void **parameters, void **extra) {
    return cuLaunchKernel(kernel, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2], c->shared,
                          c->stream, parameters, extra);
}
