/* Packed pages: any bytes are refused, or unpacked within the room that they need; and whatever the
 * pages, they come back as they were, or were left alone. */
#include "drive.h"

enum { MOST_PAGES = 6 };

static void unpack_any(const uint8_t *data, uint32_t size, uint32_t count, uint32_t page_size) {
    uint8_t *bytes = malloc(size ? size : 1), *pages = malloc((size_t)count * page_size);
    memcpy(bytes, data, size);
    uint32_t packed = dsm_packed(bytes, size, count, page_size);
    assert(packed <= size && (!packed || packed >= count));
    if (packed) dsm_unpack(bytes, size, count, page_size, pages);
    free(pages);
    free(bytes);
}

/* A byte of the input says of eight bytes of the pages which of them are not 0. */
static void there_and_back(const uint8_t *data, uint32_t size, uint32_t count, uint32_t page_size) {
    uint32_t whole = count * page_size;
    uint8_t *before = malloc(whole), *pages = malloc(whole), *after = malloc(whole);
    for (uint32_t i = 0; i < whole; i++)
        before[i] = i / 8 < size && data[i / 8] >> (i % 8) & 1 ? (uint8_t)(i | 1) : 0;
    memcpy(pages, before, whole);
    uint32_t packed = dsm_pack(pages, count, page_size);
    if (packed) {
        assert(packed <= whole - whole / 4 && packed >= count);
        assert(dsm_packed(pages, packed, count, page_size) == packed);
        dsm_unpack(pages, packed, count, page_size, after);
        assert(!memcmp(after, before, whole));
    } else {
        assert(!memcmp(pages, before, whole));
    }
    free(after);
    free(pages);
    free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > 4096) return 0;
    uint32_t page_size = 32u << (data[0] % 4), count = 1 + data[1] % MOST_PAGES;
    unpack_any(data + 2, (uint32_t)size - 2, count, page_size);
    there_and_back(data + 2, (uint32_t)size - 2, count, page_size);
    return 0;
}
