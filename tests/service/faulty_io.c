/* LD_PRELOAD: makes the n-th write, sync, truncate or rename of regular files under a folder fail.
 *
 * FAULTY_UNDER: folder; FAULTY_AT: which call, from 1; FAULTY_KIND: full, readonly, torn, sync;
 * FAULTY_FOR: how many calls in a row fail. Reads and other files are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;

static int under(int fd) {
    const char *folder = getenv("FAULTY_UNDER");
    char link[64], path[PATH_MAX];
    struct stat facts;
    if (!folder || fstat(fd, &facts) || !S_ISREG(facts.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

/* 0: go on; 1: fail with errno; 2: write a half and fail. */
static int fate(int writes) {
    const char *at = getenv("FAULTY_AT"), *kind = getenv("FAULTY_KIND"), *span = getenv("FAULTY_FOR");
    if (!at || !kind) return 0;
    long first = atol(at), last = first + (span ? atol(span) : 1);
    long now = __sync_add_and_fetch(&calls, 1);
    if (now < first || now >= last) return 0;
    if (!strcmp(kind, "readonly")) { errno = EROFS; return 1; }
    if (!strcmp(kind, "sync")) { errno = EIO; return writes ? 0 : 1; }
    errno = ENOSPC;
    return !strcmp(kind, "torn") && writes ? 2 : 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!under(fd)) return real(fd, data, size);
    switch (fate(1)) {
        case 1: return -1;
        case 2: if (size > 1) real(fd, data, size / 2); errno = EIO; return -1;
    }
    return real(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    if (!under(fd)) return real(fd, data, size, at);
    switch (fate(1)) {
        case 1: return -1;
        case 2: if (size > 1) real(fd, data, size / 2, at); errno = EIO; return -1;
    }
    return real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

int fsync(int fd) { REAL(fsync); if (under(fd) && fate(0)) return -1; return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); if (under(fd) && fate(0)) return -1; return real(fd); }
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    if (under(fd) && fate(0)) return -1;
    return real(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
