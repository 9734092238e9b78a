/* Diffs: any bytes are refused and nothing is stored, or they change only bytes of the page; and
 * whatever two pages there are, applying their diff to one gives the other. */
#include "drive.h"

static void apply_any(const uint8_t *data, uint32_t size, uint32_t page_size) {
    uint8_t *page = aligned_alloc(16, page_size), *before = malloc(page_size);
    uint8_t *diff = malloc(size ? size : 1);
    memset(page, 0x5a, page_size);
    memcpy(before, page, page_size);
    memcpy(diff, data, size);
    if (dsm_diff_apply(page, page_size, diff, size) != DSM_OK)
        assert(!memcmp(page, before, page_size));
    free(diff);
    free(before);
    free(page);
}

static void there_and_back(const uint8_t *data, uint32_t size, uint32_t page_size) {
    uint8_t *page = aligned_alloc(16, page_size), *twin = aligned_alloc(16, page_size);
    uint8_t *snapshot = aligned_alloc(16, page_size), *diff = malloc(dsm_diff_max(page_size));
    for (uint32_t i = 0; i < page_size; i++) {
        page[i] = i < size ? data[i] & 3 : 0;
        twin[i] = i < size ? data[i] >> 2 & 3 : 0;
    }
    uint32_t used = dsm_diff_encode(page, twin, snapshot, page_size, diff);
    assert(used <= dsm_diff_max(page_size) && !memcmp(snapshot, page, page_size));
    if (used) assert(dsm_diff_apply(twin, page_size, diff, used) == DSM_OK);
    assert(!memcmp(twin, page, page_size));
    free(diff);
    free(snapshot);
    free(twin);
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 4096) return 0;
    uint32_t page_size = 16u << (data[0] % 5);
    apply_any(data + 1, (uint32_t)size - 1, page_size);
    there_and_back(data + 1, (uint32_t)size - 1, page_size);
    return 0;
}
