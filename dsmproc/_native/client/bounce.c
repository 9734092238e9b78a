/* Buffers of the size of a piece are kept: to make one anew for each call takes the kernel longer
 * than to copy what is in it. */
#include "client/bounce.h"
#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { KEPT = 8 };

static _Atomic(void *) kept[KEPT];

static void *map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
}

static void *take(void) {
    for (int i = 0; i < KEPT; i++) {
        void *bytes = atomic_exchange(&kept[i], NULL);
        if (bytes) return bytes;
    }
    return map(DSM_BOUNCE_PIECE);
}

static void put(void *bytes) {
    for (int i = 0; i < KEPT; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&kept[i], &none, bytes)) return;
    }
    munmap(bytes, DSM_BOUNCE_PIECE);
}

bool dsm_bounce_open(struct dsm_bounce *bounce, size_t size) {
    bounce->size = size;
    if (size < sizeof bounce->near)
        bounce->bytes = bounce->near;
    else
        bounce->bytes = size <= DSM_BOUNCE_PIECE ? take() : map(size);
    return bounce->bytes != MAP_FAILED;
}

void dsm_bounce_close(void *one) {
    struct dsm_bounce *bounce = one;
    int error = errno;
    if (bounce->size > DSM_BOUNCE_PIECE)
        munmap(bounce->bytes, bounce->size);
    else if (bounce->bytes != bounce->near)
        put(bounce->bytes);
    errno = error;
}
