/* Streams of the C library: what does not fit into a stream's buffer goes between the system and
 * the caller's memory by calls that nothing else can see. In pieces of a private buffer it does
 * not. */
#include "client/io.h"
#include "client/bounce.h"
#include "client/guard.h"
#include "client/ranges.h"
#include <pthread.h>
#include <stdint.h>
#include <string.h>

struct piecewise {
    char *to;
    const char *from;
    size_t total, done;
    FILE *stream;
};

static void unlock(void *stream) {
    funlockfile(stream);
}

static void read_pieces(struct piecewise *all, const struct dsm_bounce *bounce) {
    size_t got, size;
    do {
        size = all->total - all->done < bounce->size ? all->total - all->done : bounce->size;
        got = (fread_unlocked)(bounce->bytes, 1, size, all->stream);
        if (!dsm_guard_copy(all->to + all->done, bounce->bytes, got)) return;
        all->done += got;
    } while (got == size && all->done < all->total);
}

static void write_pieces(struct piecewise *all, const struct dsm_bounce *bounce) {
    size_t gone, size;
    do {
        size = all->total - all->done < bounce->size ? all->total - all->done : bounce->size;
        if (!dsm_guard_copy(bounce->bytes, all->from + all->done, size)) return;
        gone = (fwrite_unlocked)(bounce->bytes, 1, size, all->stream);
        all->done += gone;
    } while (gone == size && all->done < all->total);
}

/* The stream is this thread's for as long as it would be by one call. */
static size_t pass(struct piecewise *all,
                   void (*how)(struct piecewise *, const struct dsm_bounce *)) {
    struct dsm_bounce bounce;
    size_t room = all->total < DSM_BOUNCE_PIECE ? all->total : DSM_BOUNCE_PIECE;
    if (!dsm_bounce_open(&bounce, room)) return 0;
    pthread_cleanup_push(dsm_bounce_close, &bounce);
    flockfile(all->stream);
    pthread_cleanup_push(unlock, all->stream);
    how(all, &bounce);
    pthread_cleanup_pop(1);
    pthread_cleanup_pop(1);
    return all->done;
}

/* 0: nothing that could be shared, or nonsense. */
static size_t product(size_t size, size_t count) {
    size_t total;
    return __builtin_mul_overflow(size, count, &total) ? 0 : total;
}

static size_t read_shared(void *bytes, size_t size, size_t count, FILE *stream) {
    struct piecewise all = {.to = bytes, .total = size * count, .stream = stream};
    return pass(&all, read_pieces) / size;
}

static size_t write_shared(const void *bytes, size_t size, size_t count, FILE *stream) {
    struct piecewise all = {.from = bytes, .total = size * count, .stream = stream};
    return pass(&all, write_pieces) / size;
}

size_t dsm_stream_read(void *bytes, size_t size, size_t count, FILE *stream) {
    if (!dsm_ranges_touch(bytes, product(size, count))) return fread(bytes, size, count, stream);
    return read_shared(bytes, size, count, stream);
}

size_t dsm_stream_write(const void *bytes, size_t size, size_t count, FILE *stream) {
    if (!dsm_ranges_touch(bytes, product(size, count))) return fwrite(bytes, size, count, stream);
    return write_shared(bytes, size, count, stream);
}

size_t dsm_stream_read_unlocked(void *bytes, size_t size, size_t count, FILE *stream) {
    if (!dsm_ranges_touch(bytes, product(size, count)))
        return (fread_unlocked)(bytes, size, count, stream);
    return read_shared(bytes, size, count, stream);
}

size_t dsm_stream_write_unlocked(const void *bytes, size_t size, size_t count, FILE *stream) {
    if (!dsm_ranges_touch(bytes, product(size, count)))
        return (fwrite_unlocked)(bytes, size, count, stream);
    return write_shared(bytes, size, count, stream);
}

int dsm_stream_puts(const char *text, FILE *stream) {
    size_t size = strlen(text);
    if (!dsm_ranges_touch(text, size)) return fputs(text, stream);
    return write_shared(text, 1, size, stream) == size ? 1 : EOF;
}

int dsm_stream_puts_unlocked(const char *text, FILE *stream) {
    size_t size = strlen(text);
    if (!dsm_ranges_touch(text, size)) return fputs_unlocked(text, stream);
    return write_shared(text, 1, size, stream) == size ? 1 : EOF;
}
