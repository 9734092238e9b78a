#include "engine/store.h"
#include "core/core.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_PAGES = 256 };

struct kept {
    uint32_t len;
    uint8_t bytes[];
};

int dsm_store_open(struct dsm_store *store, uint32_t page_size) {
    memset(store, 0, sizeof *store);
    store->page_size = page_size;
    store->spare = malloc(page_size);
    store->zeros = calloc(1, page_size);
    store->scratch = malloc(dsm_diff_max(page_size));
    return store->spare && store->zeros && store->scratch ? 0 : -ENOMEM;
}

void dsm_store_close(struct dsm_store *store) {
    for (uint64_t i = 0; i < store->diffs.room; i++)
        if (store->diffs.entries[i].used) free((void *)(uintptr_t)store->diffs.entries[i].value);
    dsm_table_free(&store->diffs);
    dsm_table_free(&store->twins);
    for (uint32_t i = 0; i < store->nchunks; i++)
        free(store->chunks[i]);
    free(store->chunks);
    free(store->spare);
    free(store->zeros);
    free(store->scratch);
    memset(store, 0, sizeof *store);
}

static int add_chunk(struct dsm_store *store) {
    if (store->nchunks == store->room) {
        uint32_t room = store->room ? store->room * 2 : 16;
        uint8_t **chunks = realloc(store->chunks, room * sizeof *chunks);
        if (!chunks) return -ENOMEM;
        store->chunks = chunks;
        store->room = room;
    }
    uint8_t *chunk = malloc((size_t)CHUNK_PAGES * store->page_size);
    if (!chunk) return -ENOMEM;
    store->chunks[store->nchunks++] = chunk;
    for (int i = 0; i < CHUNK_PAGES; i++) {
        uint8_t *page = chunk + (size_t)i * store->page_size;
        memcpy(page, &store->free, sizeof store->free);
        store->free = page;
    }
    return 0;
}

static int twin_buffer(struct dsm_store *store, uint64_t id, uint8_t **twin) {
    uint64_t *known = dsm_table_find(&store->twins, id);
    if (known) {
        *twin = (uint8_t *)(uintptr_t)*known;
        return 0;
    }
    int error = store->free ? 0 : add_chunk(store);
    if (error) return error;
    *twin = store->free;
    error = dsm_table_put(&store->twins, id, (uintptr_t)*twin);
    if (!error) memcpy(&store->free, *twin, sizeof store->free);
    return error;
}

int dsm_store_twin(struct dsm_store *store, uint64_t id, const uint8_t *page) {
    uint8_t *twin;
    int error = twin_buffer(store, id, &twin);
    if (!error) memcpy(twin, page, store->page_size);
    return error;
}

void dsm_store_untwin(struct dsm_store *store, uint64_t id) {
    uint64_t value;
    if (!dsm_table_remove(&store->twins, id, &value)) return;
    uint8_t *twin = (uint8_t *)(uintptr_t)value;
    memcpy(twin, &store->free, sizeof store->free);
    store->free = twin;
}

static int keep(struct dsm_store *store, uint64_t id, uint32_t len) {
    dsm_store_undiff(store, id);
    if (!len) return 0;
    struct kept *kept = malloc(sizeof *kept + len);
    if (!kept) return -ENOMEM;
    kept->len = len;
    memcpy(kept->bytes, store->scratch, len);
    int error = dsm_table_put(&store->diffs, id, (uintptr_t)kept);
    if (error) free(kept);
    return error;
}

int dsm_store_compare(struct dsm_store *store, uint64_t id, const uint8_t *page, bool refresh,
                      uint32_t *len) {
    uint64_t *known = dsm_table_find(&store->twins, id);
    const uint8_t *twin = known ? (const uint8_t *)(uintptr_t)*known : NULL;
    *len = dsm_diff_encode(page, twin, store->spare, store->page_size, store->scratch);
    int error = keep(store, id, *len);
    if (error || !refresh) return error;
    return dsm_store_twin(store, id, store->spare);
}

const uint8_t *dsm_store_twin_of(const struct dsm_store *store, uint64_t id) {
    const uint64_t *known = dsm_table_find(&store->twins, id);
    return known ? (const uint8_t *)(uintptr_t)*known : store->zeros;
}

/* Written pages mostly differ soon: the comparison ends at the first part that does. */
bool dsm_store_differs(const struct dsm_store *store, uint64_t id, const uint8_t *page) {
    return memcmp(page, dsm_store_twin_of(store, id), store->page_size) != 0;
}

void dsm_store_apply(struct dsm_store *store, uint64_t id, const uint8_t *diff, uint32_t len) {
    uint64_t *known = dsm_table_find(&store->twins, id);
    if (known) (void)dsm_diff_apply((uint8_t *)(uintptr_t)*known, store->page_size, diff, len);
}

void dsm_store_merge(struct dsm_store *store, uint64_t id, uint8_t *page, const uint8_t *bytes,
                     bool dirty) {
    const uint8_t *twin = dsm_store_twin_of(store, id);
    for (uint32_t i = 0; i < store->page_size; i++)
        if (!dirty || page[i] == twin[i]) page[i] = bytes[i];
    dsm_store_untwin(store, id);
}

const uint8_t *dsm_store_kept(const struct dsm_store *store, uint64_t id) {
    const uint64_t *value = dsm_table_find(&store->diffs, id);
    return value ? ((const struct kept *)(uintptr_t)*value)->bytes : NULL;
}

int dsm_store_diff(struct dsm_store *store, uint64_t id, struct dsm_buffer *to) {
    const uint64_t *value = dsm_table_find(&store->diffs, id);
    if (!value) return -ENOENT;
    const struct kept *kept = (const struct kept *)(uintptr_t)*value;
    return dsm_buffer_append(to, kept->bytes, kept->len);
}

void dsm_store_undiff(struct dsm_store *store, uint64_t id) {
    uint64_t value;
    if (dsm_table_remove(&store->diffs, id, &value)) free((void *)(uintptr_t)value);
}

void dsm_store_forget(struct dsm_store *store, uint64_t first, uint64_t count) {
    for (uint64_t i = 0; i < count && (store->twins.count || store->diffs.count); i++) {
        dsm_store_untwin(store, first + i);
        dsm_store_undiff(store, first + i);
    }
}
