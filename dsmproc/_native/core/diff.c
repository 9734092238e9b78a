/* Diffs: which bytes of a page changed since its twin was taken, and what they are now.
 *
 * A diff is byte exact (rule BYTES): it never names a byte that is equal in page and twin, for
 * another host may have written that byte. Two encodings, whichever is shorter:
 *
 *   0, then runs: offset u16, length u16, bytes          few changes
 *   1, then a bit per byte of the page, then the bytes   many scattered changes
 *
 * The page may be written by its processes while it is compared: each word is read once, into the
 * snapshot, and the diff is made of the snapshot alone.
 */
#include <stdbool.h>
#include <string.h>

#include "core/core.h"
#include "core/wire.h"

enum { RUNS = DSM_DIFF_RUNS, BITS = DSM_DIFF_BITS, RUN_HEAD = DSM_DIFF_RUN_HEAD };
enum { DSM_PAGE_MAX = 32768 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a word's first byte is its lowest");

#ifdef DSM_MUTATE
/* Mutation build: ship whole words of 8, as JIAJIA shipped words of 4. */
static int whole_words;
void dsm_diff_mutate(int on);
void dsm_diff_mutate(int on) {
    whole_words = on;
}
#else
enum { whole_words = 0 };
#endif

uint32_t dsm_diff_max(uint32_t page_size) {
    return 1 + page_size / 8 + page_size;
}

static uint64_t word_at(const uint8_t *bytes, uint32_t at) {
    uint64_t word;
    memcpy(&word, bytes + at, sizeof word);
    return word;
}

/* A bit per byte of `x`, lowest first: is it not 0? */
static uint32_t changed_bytes(uint64_t x) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7f;
    uint64_t tops = (((x & low) + low) | x) & ~low;
    uint32_t mask = (uint32_t)((tops >> 7) * 0x0102040810204080 >> 56);
    return whole_words && mask ? 0xff : mask;
}

static uint32_t bits_of(uint32_t mask) {
    uint32_t count = 0;
    for (; mask; mask &= mask - 1)
        count++;
    return count;
}

struct changes {
    uint8_t mask[DSM_PAGE_MAX / 8]; /* a bit per byte of the page: it differs */
    uint32_t bytes, runs;
};

/* Read the page once, word by word, and see where it differs from the twin. */
static void take(const uint8_t *page, const uint8_t *twin, uint8_t *snapshot, uint32_t size,
                 struct changes *changes) {
    uint32_t before = 0; /* the last byte's bit */
    changes->bytes = changes->runs = 0;
    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t word =
            __atomic_load_n((const uint64_t *)(const void *)(page + at), __ATOMIC_RELAXED);
        uint64_t x = word ^ (twin ? word_at(twin, at) : 0);
        memcpy(snapshot + at, &word, sizeof word);
        uint32_t mask = x ? changed_bytes(x) : 0;
        changes->mask[at / 8] = (uint8_t)mask;
        if (mask == 0xff) {
            changes->bytes += 8;
            changes->runs += !before;
        } else if (mask) {
            changes->bytes += bits_of(mask);
            changes->runs += bits_of(mask & ~(mask << 1 | before));
        }
        before = mask >> 7;
    }
}

static bool is_changed(const struct changes *changes, uint32_t at) {
    return changes->mask[at / 8] >> (at % 8) & 1;
}

/* The first byte at or after `at` that is changed, or is not, or `size`. */
static uint32_t next(const struct changes *changes, uint32_t at, uint32_t size, bool changed) {
    const uint8_t none = changed ? 0 : 0xff;
    while (at < size) {
        if (at % 8 == 0 && changes->mask[at / 8] == none)
            at += 8;
        else if (is_changed(changes, at) == changed)
            return at;
        else
            at++;
    }
    return size;
}

static uint32_t encode_runs(const uint8_t *page, uint32_t size, const struct changes *changes,
                            uint8_t *diff) {
    uint32_t used = 1;
    diff[0] = RUNS;
    for (uint32_t at = next(changes, 0, size, true); at < size;) {
        uint32_t end = next(changes, at, size, false), len = end - at;
        diff[used] = (uint8_t)at;
        diff[used + 1] = (uint8_t)(at >> 8);
        diff[used + 2] = (uint8_t)len;
        diff[used + 3] = (uint8_t)(len >> 8);
        memcpy(diff + used + RUN_HEAD, page + at, len);
        used += RUN_HEAD + len;
        at = next(changes, end, size, true);
    }
    return used;
}

static uint32_t encode_bits(const uint8_t *page, uint32_t size, const struct changes *changes,
                            uint8_t *diff) {
    uint32_t used = 1 + size / 8;
    diff[0] = BITS;
    memcpy(diff + 1, changes->mask, size / 8);
    for (uint32_t word = 0; word < size / 8; word++) {
        uint32_t mask = changes->mask[word];
        for (uint32_t at = word * 8; mask; mask >>= 1, at++)
            if (mask & 1) diff[used++] = page[at];
    }
    return used;
}

uint32_t dsm_diff_encode(const uint8_t *page, const uint8_t *twin, uint8_t *snapshot,
                         uint32_t page_size, uint8_t *diff) {
    struct changes changes;
    take(page, twin, snapshot, page_size, &changes);
    if (!changes.bytes) return 0;
    if (changes.runs * RUN_HEAD <= page_size / 8)
        return encode_runs(snapshot, page_size, &changes, diff);
    return encode_bits(snapshot, page_size, &changes, diff);
}

static uint32_t u16_at(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8;
}

static bool runs_are_sound(const uint8_t *diff, uint32_t len, uint32_t size) {
    uint32_t at = 1;
    while (at < len) {
        if (len - at <= RUN_HEAD) return false;
        uint32_t offset = u16_at(diff + at), count = u16_at(diff + at + 2);
        at += RUN_HEAD;
        if (count == 0 || count > len - at || offset + count > size) return false;
        at += count;
    }
    return true;
}

/* Stores of these bytes alone: a process of this host may be writing the neighbour bytes at this
 * moment. A word is stored whole only if all of it is to be stored. */
static void store(uint8_t *page, const uint8_t *bytes, uint32_t count) {
    uint8_t *to = page;
    while (count) {
        if (count >= 8 && (uintptr_t)to % 8 == 0) {
            __atomic_store_n((uint64_t *)(void *)to, word_at(bytes, 0), __ATOMIC_RELAXED);
            to += 8, bytes += 8, count -= 8;
        } else {
            __atomic_store_n(to++, *bytes++, __ATOMIC_RELAXED);
            count--;
        }
    }
}

static void apply_runs(uint8_t *page, const uint8_t *diff, uint32_t len) {
    for (uint32_t at = 1; at < len;) {
        uint32_t offset = u16_at(diff + at), count = u16_at(diff + at + 2);
        store(page + offset, diff + at + RUN_HEAD, count);
        at += RUN_HEAD + count;
    }
}

static uint32_t bits_set(const uint8_t *bits, uint32_t bytes) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < bytes; i++)
        count += (uint32_t)__builtin_popcount(bits[i]);
    return count;
}

static void apply_bits(uint8_t *page, uint32_t size, const uint8_t *diff) {
    const uint8_t *bits = diff + 1, *bytes = diff + 1 + size / 8;
    for (uint32_t at = 0; at < size; at++)
        if (bits[at / 8] >> (at % 8) & 1) store(page + at, bytes++, 1);
}

bool dsm_diff_sound(const uint8_t *diff, uint32_t len, uint32_t page_size) {
    uint32_t head = 1 + page_size / 8;
    if (len < 2) return false;
    if (diff[0] == RUNS) return runs_are_sound(diff, len, page_size);
    return diff[0] == BITS && len >= head && len == head + bits_set(diff + 1, page_size / 8);
}

int dsm_diff_apply(uint8_t *page, uint32_t page_size, const uint8_t *diff, uint32_t len) {
    if (!dsm_diff_sound(diff, len, page_size)) return DSM_E_PEER;
    if (diff[0] == RUNS)
        apply_runs(page, diff, len);
    else
        apply_bits(page, page_size, diff);
    return DSM_OK;
}
