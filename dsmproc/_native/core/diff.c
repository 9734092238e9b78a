/* Diffs: which bytes of a page changed since its twin was taken, and what they are now.
 *
 * A diff is byte exact (DESIGN rule 7): it never names a byte that is equal in page and twin, for
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

#include "core/host.h"

enum { RUNS = 0, BITS = 1, RUN_HEAD = 4 };

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

static bool differs(const uint8_t *page, const uint8_t *twin, uint32_t at) {
    if (whole_words) return word_at(page, at & ~7u) != (twin ? word_at(twin, at & ~7u) : 0);
    return page[at] != (twin ? twin[at] : 0);
}

/* Read the page once, word by word; say whether any byte differs from the twin. */
static bool take(const uint8_t *page, const uint8_t *twin, uint8_t *snapshot, uint32_t size) {
    uint64_t any = 0;
    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t word =
            __atomic_load_n((const uint64_t *)(const void *)(page + at), __ATOMIC_RELAXED);
        any |= word ^ (twin ? word_at(twin, at) : 0);
        memcpy(snapshot + at, &word, sizeof word);
    }
    return any != 0;
}

/* The next byte at or after `at` that differs, or `size`. Equal words are skipped whole. */
static uint32_t next_change(const uint8_t *page, const uint8_t *twin, uint32_t at, uint32_t size) {
    while (at < size) {
        if (at % 8 == 0 && word_at(page, at) == (twin ? word_at(twin, at) : 0))
            at += 8;
        else if (differs(page, twin, at))
            return at;
        else
            at++;
    }
    return size;
}

static uint32_t put_run(uint8_t *diff, uint32_t used, const uint8_t *page, uint32_t at,
                        uint32_t len) {
    diff[used] = (uint8_t)at;
    diff[used + 1] = (uint8_t)(at >> 8);
    diff[used + 2] = (uint8_t)len;
    diff[used + 3] = (uint8_t)(len >> 8);
    memcpy(diff + used + RUN_HEAD, page + at, len);
    return used + RUN_HEAD + len;
}

/* 0: it would be longer than `max`. */
static uint32_t encode_runs(const uint8_t *page, const uint8_t *twin, uint32_t size, uint8_t *diff,
                            uint32_t max) {
    uint32_t used = 1;
    diff[0] = RUNS;
    for (uint32_t at = next_change(page, twin, 0, size); at < size;) {
        uint32_t end = at + 1;
        while (end < size && differs(page, twin, end))
            end++;
        if (used + RUN_HEAD + (end - at) > max) return 0;
        used = put_run(diff, used, page, at, end - at);
        at = next_change(page, twin, end, size);
    }
    return used;
}

static uint32_t encode_bits(const uint8_t *page, const uint8_t *twin, uint32_t size,
                            uint8_t *diff) {
    uint8_t *bits = diff + 1;
    uint32_t used = 1 + size / 8;
    diff[0] = BITS;
    memset(bits, 0, size / 8);
    for (uint32_t at = next_change(page, twin, 0, size); at < size;
         at = next_change(page, twin, at + 1, size)) {
        bits[at / 8] |= (uint8_t)(1u << (at % 8));
        diff[used++] = page[at];
    }
    return used;
}

uint32_t dsm_diff_encode(const uint8_t *page, const uint8_t *twin, uint8_t *snapshot,
                         uint32_t page_size, uint8_t *diff) {
    if (!take(page, twin, snapshot, page_size)) return 0;
    uint32_t used = encode_runs(snapshot, twin, page_size, diff, dsm_diff_max(page_size));
    return used ? used : encode_bits(snapshot, twin, page_size, diff);
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

/* Byte stores: a process of this host may be writing the neighbour bytes at this moment. */
static void store(uint8_t *page, const uint8_t *bytes, uint32_t count) {
    volatile uint8_t *to = page;
    for (uint32_t i = 0; i < count; i++)
        to[i] = bytes[i];
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
