/* What of libnvbufsurface and of CUDA's EGL calls `capture.nvmm` needs, over ordinary memory, with
 * the rules that nvbufsurface.h, cudaEGL.h and cuda.h state: an EGLImage is made once and destroyed
 * once, a resource is registered of a living image and unregistered before it goes, a picture may
 * be read while it is registered, and the context must be current. Compiled together with
 * tests/inference/libcuda/standin.c, which plays the rest of the driver.
 *
 * Structures are stated here a second time, from the headers (nvbufsurface.h of L4T R36, cudaEGL.h
 * and cuda.h of CUDA 13.0), and independently of the product's. What is not played: the hardware,
 * caches, and every other colour format than BGRx. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PLANES = 4, PADDING = 4, SURFACE_ARRAY = 4, BGRX = 24 };

typedef struct {
    uint32_t num_planes;
    uint32_t width[PLANES], height[PLANES], pitch[PLANES], offset[PLANES], psize[PLANES], bytesPerPix[PLANES];
    void *_reserved[PADDING * PLANES];
} PlaneParams;
typedef struct { void *addr[PLANES]; void *eglImage; void *_reserved[PADDING]; } MappedAddr;
typedef struct {
    uint32_t width, height, pitch;
    int colorFormat, layout; /* enumerations */
    uint64_t bufferDesc;
    uint32_t dataSize;
    void *dataPtr;
    PlaneParams planeParams;
    MappedAddr mappedAddr;
    void *paramex;
    void *_reserved[PADDING - 1];
} SurfaceParams;
typedef struct {
    uint32_t gpuId, batchSize, numFilled;
    bool isContiguous;
    int memType;
    SurfaceParams *surfaceList;
    void *_reserved[PADDING];
} Surface;
typedef struct {
    union { void *pArray[3]; void *pPitch[3]; } frame;
    unsigned int width, height, depth, pitch, planeCount, numChannels;
    int frameType, eglColorFormat, cuFormat;
} EglFrame;
typedef struct {
    size_t srcXInBytes, srcY;
    int srcMemoryType;
    const void *srcHost;
    uint64_t srcDevice;
    void *srcArray;
    size_t srcPitch, dstXInBytes, dstY;
    int dstMemoryType;
    void *dstHost;
    uint64_t dstDevice;
    void *dstArray;
    size_t dstPitch, WidthInBytes, Height;
} Memcpy2D;

enum { MAP = 1, REGISTER, GET, COPY, UNREGISTER, UNMAP, NO_IMAGE, TWO_PLANES };
static int images, resources, fault, as_array;
static SurfaceParams params;
static uint8_t *memory;
struct image { uint32_t magic; int resources; } the_image = {0x45474c49, 0};

/* Of the structures: size, then the offset of each member that is used. */
#define AT(type, member) offsetof(type, member)
static const size_t layout[] = {
    sizeof(PlaneParams), AT(PlaneParams, width), AT(PlaneParams, bytesPerPix),
    sizeof(MappedAddr), AT(MappedAddr, eglImage),
    sizeof(SurfaceParams), AT(SurfaceParams, pitch), AT(SurfaceParams, colorFormat), AT(SurfaceParams, layout),
    AT(SurfaceParams, bufferDesc), AT(SurfaceParams, dataSize), AT(SurfaceParams, dataPtr),
    AT(SurfaceParams, planeParams), AT(SurfaceParams, mappedAddr),
    sizeof(Surface), AT(Surface, numFilled), AT(Surface, isContiguous), AT(Surface, memType), AT(Surface, surfaceList),
    sizeof(EglFrame), AT(EglFrame, width), AT(EglFrame, pitch), AT(EglFrame, planeCount), AT(EglFrame, numChannels),
    AT(EglFrame, frameType), AT(EglFrame, cuFormat),
    sizeof(Memcpy2D), AT(Memcpy2D, srcMemoryType), AT(Memcpy2D, srcHost), AT(Memcpy2D, srcDevice), AT(Memcpy2D, srcArray),
    AT(Memcpy2D, srcPitch), AT(Memcpy2D, dstMemoryType), AT(Memcpy2D, dstHost), AT(Memcpy2D, dstPitch),
    AT(Memcpy2D, WidthInBytes), AT(Memcpy2D, Height),
};
size_t standin_layout(int i) { return i < (int)(sizeof layout / sizeof *layout) ? layout[i] : (size_t)-1; }
int standin_images(void) { return images; }
int standin_resources(void) { return resources; }
void standin_fail_at(int what) { fault = what; }
void standin_use_arrays(int wanted) { as_array = wanted; }

/* A surface of one picture, as nvvidconv leaves it: returns its size, writes it to `out`. */
size_t standin_surface(void *out, const uint8_t *pixels, uint32_t width, uint32_t height, uint32_t pitch) {
    Surface made = {0};
    free(memory);
    memory = malloc((size_t)pitch * height);
    memset(memory, 0xEE, (size_t)pitch * height);
    for (uint32_t y = 0; y < height; y++) memcpy(memory + (size_t)y * pitch, pixels + (size_t)y * width * 4, (size_t)width * 4);
    memset(&params, 0, sizeof params);
    params.width = width; params.height = height; params.pitch = pitch;
    params.colorFormat = BGRX; params.dataSize = pitch * height;
    made.batchSize = made.numFilled = 1; made.memType = SURFACE_ARRAY; made.surfaceList = &params;
    memcpy(out, &made, sizeof made);
    return sizeof made;
}
void standin_colour_format(int format) { params.colorFormat = format; }

int NvBufSurfaceMapEglImage(Surface *surface, int index) {
    if (!surface || surface->surfaceList != &params || index != 0 || params.mappedAddr.eglImage || fault == MAP) return -1;
    images++;
    params.mappedAddr.eglImage = fault == NO_IMAGE ? NULL : &the_image;
    return 0;
}
int NvBufSurfaceUnMapEglImage(Surface *surface, int index) {
    if (!surface || index != 0 || the_image.resources) return -1; /* CUDA still has it */
    images--;
    params.mappedAddr.eglImage = NULL;
    return fault == UNMAP ? -1 : 0;
}

int cuCtxGetCurrent(void **context);
static int no_context(void) { void *context; cuCtxGetCurrent(&context); return context ? 0 : 201; }

int cuGraphicsEGLRegisterImage(void **resource, void *image, unsigned int flags) {
    if (no_context()) return 201;
    if (image != &the_image || flags > 4 || fault == REGISTER) return 1;
    resources++; the_image.resources++;
    *resource = &the_image;
    return 0;
}
int cuGraphicsUnregisterResource(void *resource) {
    if (no_context()) return 201;
    if (resource != &the_image || !the_image.resources) return 400;
    resources--; the_image.resources--;
    return fault == UNREGISTER ? 1 : 0;
}
int cuGraphicsResourceGetMappedEglFrame(EglFrame *frame, void *resource, unsigned int index, unsigned int level) {
    if (no_context()) return 201;
    if (resource != &the_image || index || level || fault == GET) return 1;
    memset(frame, 0, sizeof *frame);
    frame->frame.pPitch[0] = memory;
    frame->width = params.width; frame->height = params.height; frame->depth = 1;
    frame->pitch = as_array ? 0 : params.pitch;
    frame->planeCount = fault == TWO_PLANES ? 2 : 1;
    frame->numChannels = 4; frame->frameType = as_array ? 0 : 1; frame->eglColorFormat = 6; frame->cuFormat = 1;
    return 0;
}
int cuMemcpy2D_v2(const Memcpy2D *copy) {
    if (no_context()) return 201;
    if (!resources || fault == COPY || copy->dstMemoryType != 1 || copy->srcXInBytes || copy->srcY) return 1;
    if (copy->srcMemoryType != (as_array ? 3 : 2)) return 1;
    const uint8_t *from = as_array ? copy->srcArray : (const uint8_t *)copy->srcDevice;
    size_t pitch = as_array ? params.pitch : copy->srcPitch;
    if (from != memory || pitch < copy->WidthInBytes || copy->dstPitch < copy->WidthInBytes) return 1;
    if (copy->WidthInBytes != params.width * 4 || copy->Height != params.height) return 1;
    for (size_t y = 0; y < copy->Height; y++) memcpy((uint8_t *)copy->dstHost + y * copy->dstPitch, from + y * pitch, copy->WidthInBytes);
    return 0;
}
