#include "engine/table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t place(const struct dsm_table *table, uint64_t key) {
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return (key ^ key >> 29) & (table->room - 1);
}

uint64_t *dsm_table_find(const struct dsm_table *table, uint64_t key) {
    if (!table->count) return NULL;
    for (uint64_t i = place(table, key); table->entries[i].used; i = (i + 1) & (table->room - 1))
        if (table->entries[i].key == key) return &table->entries[i].value;
    return NULL;
}

static void insert(struct dsm_table *table, uint64_t key, uint64_t value) {
    uint64_t i = place(table, key);
    while (table->entries[i].used)
        i = (i + 1) & (table->room - 1);
    table->entries[i] = (struct dsm_table_entry){.key = key, .value = value, .used = true};
    table->count++;
}

static int grow(struct dsm_table *table) {
    struct dsm_table bigger = {.room = table->room ? table->room * 2 : 64};
    bigger.entries = calloc(bigger.room, sizeof *bigger.entries);
    if (!bigger.entries) return -ENOMEM;
    for (uint64_t i = 0; i < table->room; i++)
        if (table->entries[i].used) insert(&bigger, table->entries[i].key, table->entries[i].value);
    free(table->entries);
    *table = bigger;
    return 0;
}

int dsm_table_put(struct dsm_table *table, uint64_t key, uint64_t value) {
    uint64_t *known = dsm_table_find(table, key);
    if (known) {
        *known = value;
        return 0;
    }
    if ((table->count + 1) * 4 > table->room * 3) {
        int error = grow(table);
        if (error) return error;
    }
    insert(table, key, value);
    return 0;
}

bool dsm_table_remove(struct dsm_table *table, uint64_t key, uint64_t *value) {
    uint64_t *found = dsm_table_find(table, key);
    if (!found) return false;
    if (value) *value = *found;
    uint64_t mask = table->room - 1;
    uint64_t hole = place(table, key);
    while (table->entries[hole].key != key || !table->entries[hole].used)
        hole = (hole + 1) & mask;
    table->entries[hole].used = false;
    table->count--;
    /* Move back whatever the hole would hide from its own place. */
    for (uint64_t i = (hole + 1) & mask; table->entries[i].used; i = (i + 1) & mask) {
        uint64_t home = place(table, table->entries[i].key);
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        table->entries[hole] = table->entries[i];
        table->entries[i].used = false;
        hole = i;
    }
    return true;
}

void dsm_table_free(struct dsm_table *table) {
    free(table->entries);
    memset(table, 0, sizeof *table);
}
