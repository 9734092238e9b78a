/* Regions: their memory and who maps them where. */
#include "engine/engine.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct dsm_area *dsm_area_find(struct dsmproc_engine *engine, uint64_t id) {
    uint64_t *found = dsm_table_find(&engine->agent.regions, id);
    return found ? (struct dsm_area *)(uintptr_t)*found : NULL;
}

int dsm_area_make(struct dsmproc_engine *engine, uint64_t id, uint64_t pages) {
    if (dsm_area_find(engine, id)) return 0;
    struct dsm_area *area = calloc(1, sizeof *area);
    if (!area) return -ENOMEM;
    area->id = id;
    area->pages = pages;
    char name[40];
    snprintf(name, sizeof name, "dsmproc-region-%llu", (unsigned long long)id);
    int error = dsm_memory_make(&area->memory, name, pages * engine->agent.store.page_size);
    if (!error) error = dsm_table_put(&engine->agent.regions, id, (uintptr_t)area);
    if (error) {
        dsm_memory_free(&area->memory);
        free(area);
    }
    return error;
}

static void client_forget(struct dsm_client *client, const struct dsm_area *area) {
    for (uint32_t i = 0; i < client->count; i++) {
        if (client->ranges[i].area != area) continue;
        client->count--;
        for (; i < client->count; i++)
            client->ranges[i] = client->ranges[i + 1];
    }
}

void dsm_area_end(struct dsmproc_engine *engine, uint64_t id) {
    uint64_t value;
    if (!dsm_table_remove(&engine->agent.regions, id, &value)) return;
    struct dsm_area *area = (struct dsm_area *)(uintptr_t)value;
    for (uint32_t i = 0; i < area->count; i++)
        client_forget(area->mappings[i].client, area);
    dsm_store_forget(&engine->agent.store, id << 32, area->pages);
    dsm_memory_free(&area->memory);
    free(area->mappings);
    free(area);
}

uint64_t dsm_area_address(const struct dsm_area *area, const struct dsm_client *client) {
    for (uint32_t i = 0; i < area->count; i++)
        if (area->mappings[i].client == client) return area->mappings[i].address;
    return 0;
}

static int client_add(struct dsm_client *client, struct dsm_area *area, uint64_t address) {
    if (client->count == client->room) {
        uint32_t room = client->room ? client->room * 2 : 8;
        struct dsm_range *ranges = realloc(client->ranges, room * sizeof *ranges);
        if (!ranges) return -ENOMEM;
        client->ranges = ranges;
        client->room = room;
    }
    uint32_t i = client->count++; /* sorted by address: faults search it */
    for (; i > 0 && client->ranges[i - 1].address > address; i--)
        client->ranges[i] = client->ranges[i - 1];
    client->ranges[i] = (struct dsm_range){address, area->memory.bytes, area};
    return 0;
}

int dsm_area_map(struct dsm_area *area, struct dsm_client *client, uint64_t address) {
    if (area->count == area->room) {
        uint32_t room = area->room ? area->room * 2 : 4;
        struct dsm_mapping *mappings = realloc(area->mappings, room * sizeof *mappings);
        if (!mappings) return -ENOMEM;
        area->mappings = mappings;
        area->room = room;
    }
    int error = client_add(client, area, address);
    if (error) return error;
    area->mappings[area->count++] = (struct dsm_mapping){client, address};
    return 0;
}

void dsm_area_unmap(struct dsm_area *area, struct dsm_client *client) {
    client_forget(client, area);
    for (uint32_t i = 0; i < area->count; i++) {
        if (area->mappings[i].client != client) continue;
        area->mappings[i] = area->mappings[--area->count];
        return;
    }
}
