/* A hash table from 64-bit keys to 64-bit values: open addressing, no tombstones. */
#ifndef DSM_ENGINE_TABLE_H
#define DSM_ENGINE_TABLE_H
#include <stdbool.h>
#include <stdint.h>

struct dsm_table_entry {
    uint64_t key;
    uint64_t value;
    bool used;
};

struct dsm_table {
    struct dsm_table_entry *entries;
    uint64_t room; /* a power of two, or 0 */
    uint64_t count;
};

/* The value's place, or NULL. Valid until the next put or remove. */
uint64_t *dsm_table_find(const struct dsm_table *table, uint64_t key);
/* Store; 0, or -ENOMEM. */
int dsm_table_put(struct dsm_table *table, uint64_t key, uint64_t value);
/* Take out: true and the value, if it was there. */
bool dsm_table_remove(struct dsm_table *table, uint64_t key, uint64_t *value);
void dsm_table_free(struct dsm_table *table);

#endif
