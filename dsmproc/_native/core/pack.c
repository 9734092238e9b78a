/* Pages on the wire: without those bytes that are 0 in every word of a page.
 *
 * Definitions. A page's *mask* has bit i set if byte i of one of its words of 8 is not 0. A
 * *packed* page is, word by word, its bytes that the mask names: numbers that are small for their
 * type leave their upper bytes out, in words of 8, 4 or 2 bytes alike, and a page of zeros is
 * nothing at all. Packed pages are one behind the other, and behind all of them their masks, a byte
 * each.
 *
 * Only whole pages that are to be shown as they are travel so; diffs have their own form (diff.c).
 * The protocol's messages do not know of it: a frame is packed when it is closed, and unpacked
 * before its message is read (engine/peers.c).
 */
#include <stdbool.h>
#include <string.h>

#include "core/core.h"

enum { WORD = 8, GLANCE = 256 /* bytes between two looks at whether all are needed */ };

static uint64_t word_at(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static bool has_zero_byte(uint64_t word) {
    return (word - 0x0101010101010101) & ~word & 0x8080808080808080;
}

static uint8_t mask_of(const uint8_t *page, uint32_t page_size) {
    uint64_t any = 0;
    for (uint32_t at = 0; at < page_size && has_zero_byte(any);) {
        uint32_t end = at + GLANCE < page_size ? at + GLANCE : page_size;
        for (; at < end; at += 4 * WORD)
            any |= word_at(page + at) | word_at(page + at + WORD) | word_at(page + at + 2 * WORD) |
                   word_at(page + at + 3 * WORD);
    }
    uint8_t mask = 0;
    for (uint32_t i = 0; i < WORD; i++)
        if (any >> (8 * i) & 0xff) mask |= (uint8_t)(1 << i);
    return mask;
}

/* The shifts of the bytes that a mask names, and how many they are. */
static uint32_t shifts_of(uint8_t mask, uint32_t shifts[WORD]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < WORD; i++)
        if (mask >> i & 1) shifts[count++] = 8 * i;
    return count;
}

static uint32_t packed_size(uint8_t mask, uint32_t page_size) {
    return (uint32_t)__builtin_popcount(mask) * (page_size / WORD);
}

/* To a place at or before the page: a word is read before anything is stored over it. (This and the
 * next are made once for each small count: twice as fast, and pages of small numbers are many.) */
static inline __attribute__((always_inline)) void pack_words(uint8_t *to, const uint8_t *page,
                                                             uint32_t page_size,
                                                             const uint32_t *shifts,
                                                             uint32_t count) {
    for (uint32_t at = 0; at < page_size; at += WORD, to += count) {
        uint64_t word = word_at(page + at);
        for (uint32_t i = 0; i < count; i++)
            to[i] = (uint8_t)(word >> shifts[i]);
    }
}

static inline __attribute__((always_inline)) void unpack_words(uint8_t *page, const uint8_t *packed,
                                                               uint32_t page_size,
                                                               const uint32_t *shifts,
                                                               uint32_t count) {
    for (uint32_t at = 0; at < page_size; at += WORD, packed += count) {
        uint64_t word = 0;
        for (uint32_t i = 0; i < count; i++)
            word |= (uint64_t)packed[i] << shifts[i];
        memcpy(page + at, &word, sizeof word);
    }
}

static void pack_page(uint8_t *to, const uint8_t *page, uint8_t mask, uint32_t page_size) {
    uint32_t shifts[WORD], count = shifts_of(mask, shifts);
    switch (count) {
    case 0:
        return;
    case 1:
        return pack_words(to, page, page_size, shifts, 1);
    case 2:
        return pack_words(to, page, page_size, shifts, 2);
    case 3:
        return pack_words(to, page, page_size, shifts, 3);
    case 4:
        return pack_words(to, page, page_size, shifts, 4);
    default:
        return pack_words(to, page, page_size, shifts, count);
    }
}

static void unpack_page(uint8_t *page, const uint8_t *packed, uint8_t mask, uint32_t page_size) {
    uint32_t shifts[WORD], count = shifts_of(mask, shifts);
    switch (count) {
    case 0:
        memset(page, 0, page_size);
        return;
    case 1:
        return unpack_words(page, packed, page_size, shifts, 1);
    case 2:
        return unpack_words(page, packed, page_size, shifts, 2);
    case 3:
        return unpack_words(page, packed, page_size, shifts, 3);
    case 4:
        return unpack_words(page, packed, page_size, shifts, 4);
    default:
        return unpack_words(page, packed, page_size, shifts, count);
    }
}

uint32_t dsm_pack(uint8_t *pages, uint32_t count, uint32_t page_size) {
    uint8_t masks[DSM_PACK_MOST], *to = pages;
    if (count > DSM_PACK_MOST) return 0;
    uint32_t size = count, whole = count * page_size;
    for (uint32_t i = 0; i < count; i++) {
        masks[i] = mask_of(pages + (size_t)i * page_size, page_size);
        size += packed_size(masks[i], page_size);
    }
    if (size > whole - whole / 4) return 0; /* less than a quarter is not worth its time */
    for (uint32_t i = 0; i < count; i++) {
        pack_page(to, pages + (size_t)i * page_size, masks[i], page_size);
        to += packed_size(masks[i], page_size);
    }
    memcpy(to, masks, count);
    return size;
}

uint32_t dsm_packed(const uint8_t *bytes, uint32_t len, uint32_t count, uint32_t page_size) {
    if (count > DSM_PACK_MOST || count > len) return 0;
    uint32_t size = count;
    for (uint32_t i = 0; i < count; i++)
        size += packed_size(bytes[len - count + i], page_size);
    return size <= len ? size : 0;
}

void dsm_unpack(const uint8_t *bytes, uint32_t len, uint32_t count, uint32_t page_size,
                uint8_t *pages) {
    const uint8_t *masks = bytes + len - count;
    const uint8_t *packed = bytes + len - dsm_packed(bytes, len, count, page_size);
    for (uint32_t i = 0; i < count; i++) {
        unpack_page(pages + (size_t)i * page_size, packed, masks[i], page_size);
        packed += packed_size(masks[i], page_size);
    }
}
