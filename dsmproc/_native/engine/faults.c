/* Faults of client threads, as events. */
#include "engine/engine.h"
#include "sys/uffd.h"
#include <errno.h>

enum { FAULTS_AT_ONCE = 16 };

static const struct dsm_range *find_range(const struct dsm_client *client, uint64_t address) {
    uint32_t low = 0, high = client->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (client->ranges[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low) return NULL;
    const struct dsm_range *range = &client->ranges[low - 1];
    return address - range->address < range->bytes ? range : NULL;
}

void dsm_faults_read(struct dsmproc_engine *engine, struct dsm_client *client) {
    struct dsm_fault faults[FAULTS_AT_ONCE];
    int count = dsm_watch_read(client, faults, FAULTS_AT_ONCE);
    if (count == -ECONNRESET) return dsm_end_client(engine, client); /* it has disconnected */
    if (count < 0 && count != -EAGAIN) {
        dsm_engine_log(engine, "cannot read the faults of process %u: error %d", client->pid,
                       -count);
        dsm_end_client(engine, client);
        return;
    }
    for (int i = 0; i < count && !client->gone; i++) {
        if (faults[i].said) dsm_watch_heard(engine, client, faults[i].said);
        if (faults[i].said || client->resting) continue;
        const struct dsm_range *range = find_range(client, faults[i].address);
        uint64_t page_size = engine->agent.store.page_size;
        if (!range) { /* it was unmapped */
            dsm_watch_wake(engine, client, faults[i].address & ~(page_size - 1), page_size);
            continue;
        }
        uint64_t page = (faults[i].address - range->address) / page_size;
        struct dsm_event event = {
            .kind = faults[i].write ? DSM_EV_WRITE_FAULT : DSM_EV_READ_FAULT,
            .client = client->slot,
            .id = range->area->id << 32 | page,
        };
        if (!dsm_limit_hold(engine, &event)) dsm_agent_feed(engine, &event);
    }
}
