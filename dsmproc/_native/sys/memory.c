#include "sys/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int dsm_memory_make(struct dsm_memory *memory, const char *name, uint64_t bytes) {
    memset(memory, 0, sizeof *memory);
    memory->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory->fd < 0) return -errno;
    memory->bytes = bytes;
    int error = 0;
    if (ftruncate(memory->fd, (off_t)bytes) < 0 ||
        fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        error = -errno;
    } else {
        void *base =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
        if (base == MAP_FAILED)
            error = -errno;
        else
            memory->base = base;
    }
    if (error) {
        close(memory->fd);
        memory->fd = -1;
        return error;
    }
    (void)madvise(memory->base, bytes, MADV_DONTFORK);
    (void)madvise(memory->base, bytes, MADV_NOHUGEPAGE);
    (void)madvise(memory->base, bytes, MADV_DONTDUMP);
    return 0;
}

void dsm_memory_free(struct dsm_memory *memory) {
    if (memory->base) munmap(memory->base, memory->bytes);
    if (memory->fd >= 0) close(memory->fd);
    memory->base = NULL;
    memory->fd = -1;
}

static int allocate(const struct dsm_memory *memory, int mode, uint64_t offset, uint64_t bytes) {
    while (fallocate(memory->fd, mode, (off_t)offset, (off_t)bytes) < 0)
        if (errno != EINTR) return -errno;
    return 0;
}

int dsm_memory_punch(const struct dsm_memory *memory, uint64_t offset, uint64_t bytes) {
    return allocate(memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
}

int dsm_memory_ensure(const struct dsm_memory *memory, uint64_t offset, uint64_t bytes) {
    return allocate(memory, FALLOC_FL_KEEP_SIZE, offset, bytes);
}

int dsm_memory_fill(const struct dsm_memory *memory, uint64_t offset, const uint8_t *from,
                    uint64_t bytes) {
    while (bytes) {
        ssize_t done = pwrite(memory->fd, from, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done ? -errno : -EIO;
        offset += (uint64_t)done;
        from += done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

void *dsm_memory_reserve(uint64_t *bytes, uint64_t least) {
    for (uint64_t size = *bytes; size >= least; size /= 2) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) continue;
        (void)madvise(base, size, MADV_DONTFORK);
        (void)madvise(base, size, MADV_DONTDUMP);
        (void)madvise(base, size, MADV_NOHUGEPAGE);
        *bytes = size;
        return base;
    }
    return NULL;
}

void dsm_memory_release(void *base, uint64_t bytes) {
    if (base) munmap(base, bytes);
}
