/* A libcuda.so.1 over ordinary memory, with the driver's own rules, for code that is compiled
 * against it (pycuda) or calls it by ctypes. What is played: the stack of contexts of each thread;
 * work that waits on its stream until that is synchronised; captures, what breaks them, and graphs;
 * running out of memory; an error that, once a kernel has caused it, every later call answers.
 * What is not: kernels, several GPUs, how long anything takes.
 *
 * standin_count(what) says how many blocks (0), streams (1), graphs and executables (2), retained
 * contexts (3) there are. standin_fault(code): the next work that runs fails so. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t Device; /* an address on the device */
typedef void *Handle;

enum { INVALID_VALUE = 1, NO_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 101, NO_CONTEXT = 201,
       BAD_HANDLE = 400, ILLEGAL_ADDRESS = 700, UNSUPPORTED = 900, INVALIDATED = 901 };
enum { BLOCKS = 4096, DEPTH = 32, LARGEST_SHIFT = 34 };

struct work { uint8_t *to, *from; size_t size; struct work *next; };
struct queue { struct work *first, *last; };
struct stream { uint32_t magic; int capturing, broken; pthread_t by; struct queue queue, captured; };
struct graph { uint32_t magic; struct queue work; };
static const uint32_t STREAM = 0x5354524d, GRAPH = 0x47524150, EXECUTABLE = 0x45584543;

static struct { uint8_t *at; size_t size; int pinned; } blocks[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialised, retained, streams, graphs, fault, sticky;
static char the_context[16];
static __thread Handle stack[DEPTH];
static __thread int depth;
static __thread struct stream *capture; /* of this thread, in thread-local mode */

int standin_count(int what) {
    int count = 0;
    if (what == 1) return streams;
    if (what == 2) return graphs;
    if (what == 3) return retained;
    for (int i = 0; i < BLOCKS; i++) count += blocks[i].at != NULL;
    return count;
}
void standin_fault(int code) { fault = code; }
int standin_sticky(void) { return sticky; }

#define ENTER do { if (!depth) return NO_CONTEXT; if (sticky) return sticky; } while (0)
/* Taking and freeing memory ends a capture of the same thread. */
#define UNSAFE do { if (capture) { capture->broken = 1; return UNSUPPORTED; } } while (0)

static int keep(uint8_t *at, size_t size, int pinned) {
    int answer = NO_MEMORY;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS && answer; i++)
        if (!blocks[i].at) {
            blocks[i].at = at; blocks[i].size = size; blocks[i].pinned = pinned;
            answer = 0;
        }
    pthread_mutex_unlock(&lock);
    return answer;
}
static int drop(uint8_t *at, int pinned) {
    int answer = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS && answer; i++)
        if (at && blocks[i].at == at && blocks[i].pinned == pinned) { blocks[i].at = NULL; answer = 0; }
    pthread_mutex_unlock(&lock);
    if (!answer) free(at);
    return answer;
}
static int inside(uint8_t *at, size_t size, int pinned) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BLOCKS; i++)
        found |= blocks[i].at && blocks[i].pinned == pinned && at >= blocks[i].at &&
                 at + size <= blocks[i].at + blocks[i].size;
    pthread_mutex_unlock(&lock);
    return found;
}
static void push_work(struct queue *queue, uint8_t *to, uint8_t *from, size_t size) {
    struct work *work = calloc(1, sizeof *work);
    work->to = to; work->from = from; work->size = size;
    if (queue->last) queue->last->next = work; else queue->first = work;
    queue->last = work;
}
static void drop_queue(struct queue *queue) {
    for (struct work *work = queue->first, *next; work; work = next) { next = work->next; free(work); }
    queue->first = queue->last = NULL;
}
static struct stream *stream_of(Handle handle) {
    struct stream *stream = handle;
    return stream && stream->magic == STREAM ? stream : NULL;
}

int cuInit(unsigned flags) { initialised = flags == 0; return flags ? INVALID_VALUE : 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { if (!initialised) return NOT_INITIALIZED; *count = 1; return 0; }
int cuDeviceGet(int *device, int index) {
    if (!initialised) return NOT_INITIALIZED;
    *device = 0;
    return index ? NO_DEVICE : 0;
}
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "stand-in GPU"); return device ? NO_DEVICE : 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? 8 : which == 76 ? 7 : 1;
    return device ? NO_DEVICE : 0;
}
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 8; *minor = 7; return device ? NO_DEVICE : 0; }
int cuDevicePrimaryCtxRetain(Handle *context, int device) {
    if (!initialised) return NOT_INITIALIZED;
    retained++; *context = the_context;
    return device ? NO_DEVICE : 0;
}
int cuDevicePrimaryCtxRelease_v2(int device) { retained--; return device ? NO_DEVICE : 0; }
int cuCtxPushCurrent_v2(Handle context) {
    if (context != the_context || depth == DEPTH) return NO_CONTEXT;
    stack[depth++] = context;
    return 0;
}
int cuCtxPopCurrent_v2(Handle *context) {
    if (!depth) return NO_CONTEXT;
    depth--;
    if (context) *context = stack[depth];
    return 0;
}
int cuCtxGetCurrent(Handle *context) { *context = depth ? stack[depth - 1] : NULL; return 0; }
int cuCtxSetCurrent(Handle context) { if (depth) depth--; if (context) stack[depth++] = context; return 0; }
int cuCtxGetDevice(int *device) { if (!depth) return NO_CONTEXT; *device = 0; return 0; }
int cuCtxGetApiVersion(Handle context, unsigned *version) { *version = 3020; return context == the_context || !context ? 0 : NO_CONTEXT; }
int cuCtxSynchronize(void) { ENTER; return 0; }
int cuCtxDetach(Handle context) { return context == the_context ? 0 : NO_CONTEXT; }

int cuMemAlloc_v2(Device *address, size_t size) {
    ENTER; UNSAFE;
    if (!size) return INVALID_VALUE;
    if (size >> LARGEST_SHIFT) return NO_MEMORY;
    uint8_t *at = aligned_alloc(256, (size + 255) & ~(size_t)255);
    if (!at) return NO_MEMORY;
    memset(at, 0xEE, size);
    *address = (Device)at;
    return keep(at, size, 0);
}
int cuMemFree_v2(Device address) { ENTER; UNSAFE; return drop((uint8_t *)address, 0); }
int cuMemHostAlloc(Handle *address, size_t size, unsigned flags) {
    ENTER; UNSAFE;
    if (!size || flags > 7) return INVALID_VALUE;
    if (size >> LARGEST_SHIFT) return NO_MEMORY;
    uint8_t *at = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
    if (!at) return NO_MEMORY;
    memset(at, 0xDD, size);
    *address = at;
    return keep(at, size, 1);
}
int cuMemFreeHost(Handle address) { ENTER; UNSAFE; return drop(address, 1); }

int cuStreamCreate(Handle *made, unsigned flags) {
    ENTER;
    if (flags > 1) return INVALID_VALUE;
    struct stream *stream = calloc(1, sizeof *stream);
    stream->magic = STREAM;
    __sync_fetch_and_add(&streams, 1);
    *made = stream;
    return 0;
}
int cuStreamDestroy_v2(Handle handle) {
    ENTER;
    struct stream *stream = stream_of(handle);
    if (!stream) return BAD_HANDLE;
    drop_queue(&stream->queue); drop_queue(&stream->captured);
    stream->magic = 0;
    free(stream);
    __sync_fetch_and_sub(&streams, 1);
    return 0;
}
int cuStreamQuery(Handle handle) { ENTER; return stream_of(handle) ? 0 : BAD_HANDLE; }
int cuStreamSynchronize(Handle handle) {
    ENTER;
    struct stream *stream = stream_of(handle);
    if (!stream) return BAD_HANDLE;
    if (stream->capturing) { stream->broken = 1; return UNSUPPORTED; }
    if (stream->queue.first && fault) { sticky = fault; fault = 0; return sticky; }
    for (struct work *work = stream->queue.first; work; work = work->next)
        memmove(work->to, work->from, work->size);
    drop_queue(&stream->queue);
    return 0;
}
static int copy(uint8_t *to, uint8_t *from, size_t size, Handle handle) {
    struct stream *stream = stream_of(handle);
    if (!stream) return BAD_HANDLE;
    push_work(stream->capturing ? &stream->captured : &stream->queue, to, from, size);
    return 0;
}
int cuMemcpyHtoDAsync_v2(Device to, const void *from, size_t size, Handle stream) {
    ENTER;
    if (!inside((uint8_t *)to, size, 0) || !inside((uint8_t *)from, size, 1)) return INVALID_VALUE;
    return copy((uint8_t *)to, (uint8_t *)from, size, stream);
}
int cuMemcpyDtoHAsync_v2(void *to, Device from, size_t size, Handle stream) {
    ENTER;
    if (!inside((uint8_t *)from, size, 0) || !inside(to, size, 1)) return INVALID_VALUE;
    return copy(to, (uint8_t *)from, size, stream);
}

int cuStreamBeginCapture_v2(Handle handle, int mode) {
    ENTER;
    struct stream *stream = stream_of(handle);
    if (!stream) return BAD_HANDLE;
    if (stream->capturing || mode != 1) return mode == 1 ? UNSUPPORTED : INVALID_VALUE;
    stream->capturing = 1; stream->broken = 0; stream->by = pthread_self();
    capture = stream;
    return 0;
}
int cuStreamEndCapture(Handle handle, Handle *made) {
    struct stream *stream = stream_of(handle);
    if (!depth) return NO_CONTEXT;
    if (!stream) return BAD_HANDLE;
    if (!stream->capturing) return INVALID_VALUE;
    int broken = stream->broken;
    stream->capturing = 0; capture = NULL;
    if (sticky || broken) { drop_queue(&stream->captured); *made = NULL; return sticky ? sticky : INVALIDATED; }
    struct graph *graph = calloc(1, sizeof *graph);
    graph->magic = GRAPH; graph->work = stream->captured;
    stream->captured.first = stream->captured.last = NULL;
    __sync_fetch_and_add(&graphs, 1);
    *made = graph;
    return 0;
}
int cuGraphInstantiateWithFlags(Handle *made, Handle handle, unsigned long long flags) {
    ENTER;
    struct graph *graph = handle;
    if (!graph || graph->magic != GRAPH || flags) return INVALID_VALUE;
    struct graph *executable = calloc(1, sizeof *executable);
    executable->magic = EXECUTABLE;
    for (struct work *work = graph->work.first; work; work = work->next)
        push_work(&executable->work, work->to, work->from, work->size);
    __sync_fetch_and_add(&graphs, 1);
    *made = executable;
    return 0;
}
static int drop_graph(struct graph *graph, uint32_t magic) {
    if (!graph || graph->magic != magic) return INVALID_VALUE;
    drop_queue(&graph->work);
    graph->magic = 0;
    free(graph);
    __sync_fetch_and_sub(&graphs, 1);
    return 0;
}
int cuGraphDestroy(Handle graph) { return drop_graph(graph, GRAPH); }
int cuGraphExecDestroy(Handle executable) { ENTER; return drop_graph(executable, EXECUTABLE); }
int cuGraphLaunch(Handle handle, Handle to) {
    ENTER;
    struct graph *graph = handle;
    struct stream *stream = stream_of(to);
    if (!graph || graph->magic != EXECUTABLE || !stream) return BAD_HANDLE;
    for (struct work *work = graph->work.first; work; work = work->next)
        push_work(&stream->queue, work->to, work->from, work->size);
    return 0;
}

static const struct { int code; const char *name; } NAMES[] = {
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"}, {NO_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"}, {NO_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
    {NO_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"}, {BAD_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
    {INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
};
int cuGetErrorName(int code, const char **name) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (NAMES[i].code == code) { *name = NAMES[i].name; return 0; }
    *name = NULL;
    return INVALID_VALUE;
}
int cuGetErrorString(int code, const char **text) { return cuGetErrorName(code, text); }
