/* The regions that this host knows, and the table of their pages.
 *
 * Page records are made on demand, DSM_CHUNK at a time; a page without a record is as at the start.
 */
#include <assert.h>

#include "core/host/host.h"
#include "core/policy/policy.h"

struct dsm_region *dsm_region_find(const struct dsm_host *host, uint64_t id) {
    dsm_ref ref = dsm_map_get(&host->arena, &host->regions, id);
    return ref ? dsm_at(host, ref) : NULL;
}

static dsm_ref *chunk_slot(const struct dsm_host *host, const struct dsm_region *region,
                           uint32_t index) {
    return (dsm_ref *)dsm_at(host, region->chunks) + index / DSM_CHUNK;
}

static void make_chunk(struct dsm_host *host, struct dsm_region *region, uint32_t index) {
    dsm_ref chunk = dsm_arena_take(&host->arena, DSM_CHUNK * sizeof(struct dsm_page));
    struct dsm_page *pages = dsm_at(host, chunk);
    uint32_t first = index / DSM_CHUNK * DSM_CHUNK;
    for (uint32_t i = 0; i < DSM_CHUNK; i++) {
        pages[i].region = dsm_ref_of(host, region);
        pages[i].index = first + i;
        pages[i].home = (uint16_t)dsm_policy_first_home(region->policy, first + i, region->pages,
                                                        region->hosts);
    }
    *chunk_slot(host, region, index) = chunk;
}

struct dsm_page *dsm_page_known(const struct dsm_host *host, const struct dsm_region *region,
                                uint32_t index) {
    assert(index < region->pages);
    dsm_ref chunk = *chunk_slot(host, region, index);
    return chunk ? (struct dsm_page *)dsm_at(host, chunk) + index % DSM_CHUNK : NULL;
}

struct dsm_page *dsm_page_find(struct dsm_host *host, uint64_t id) {
    struct dsm_region *region = dsm_region_find(host, id >> 32);
    uint32_t index = (uint32_t)id;
    if (!region || region->state != DSM_REGION_READY || index >= region->pages) return NULL;
    if (!*chunk_slot(host, region, index)) make_chunk(host, region, index);
    return dsm_page_known(host, region, index);
}

struct dsm_page *dsm_page_there(const struct dsm_host *host, uint64_t id) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    bool ready = region && region->state == DSM_REGION_READY && (uint32_t)id < region->pages;
    return ready ? dsm_page_known(host, region, (uint32_t)id) : NULL;
}

uint32_t dsm_page_home(const struct dsm_host *host, const struct dsm_region *region,
                       uint32_t index) {
    const struct dsm_page *page = dsm_page_known(host, region, index);
    return page ? page->home
                : dsm_policy_first_home(region->policy, index, region->pages, region->hosts);
}

uint64_t dsm_page_room(const struct dsm_host *host, uint64_t id, uint32_t count) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    uint64_t chunks = 0;
    if (!region || region->state != DSM_REGION_READY || !count) return 0;
    uint32_t end = ((uint32_t)id + count - 1) / DSM_CHUNK;
    for (uint32_t chunk = (uint32_t)id / DSM_CHUNK; chunk <= end; chunk++)
        if (!*chunk_slot(host, region, chunk * DSM_CHUNK)) chunks++;
    return chunks * DSM_CHUNK * sizeof(struct dsm_page);
}

bool dsm_page_is_homeless(const struct dsm_host *host, const struct dsm_page *page) {
    const struct dsm_region *region = dsm_at(host, page->region);
    return region->policy == DSM_HOME_HOMELESS;
}

bool dsm_page_runs_sound(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor), home = dsm_get16(&cursor);
        dsm_get32(&cursor);
        const struct dsm_region *region = dsm_region_find(host, id >> 32);
        if (home >= DSM_MAX_HOSTS || count == 0 || (total += count) > DSM_BATCH) return false;
        if ((uint64_t)(uint32_t)id + count > UINT32_MAX) return false; /* into the next region */
        if (!region || region->state != DSM_REGION_READY) continue;
        if ((uint64_t)(uint32_t)id + count > region->pages) return false;
    }
    return dsm_cursor_done(&cursor);
}

/* ---- where pages live ------------------------------------------------------------------ */

struct dsm_page *dsm_page_learn_home(struct dsm_host *host, uint64_t id, uint32_t home,
                                     uint32_t epoch) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (!region || region->state != DSM_REGION_READY)
        return NULL; /* its list comes with the attach */
    bool untouched = !dsm_page_known(host, region, (uint32_t)id);
    struct dsm_page *page = dsm_page_find(host, id);
    if (page->home == DSM_NO_HOST || (epoch > page->epoch && !dsm_page_is_pending(page))) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    if (!untouched || home == host->config.host) return page;
    page->state = DSM_ABSENT; /* nothing to punch */
    return NULL;
}

bool dsm_page_home_fits(const struct dsm_host *host, const struct dsm_region *region,
                        uint32_t index, uint32_t home, uint32_t epoch) {
    const struct dsm_page *page = dsm_page_known(host, region, index);
    uint32_t known = dsm_page_home(host, region, index), last = page ? page->epoch : 0;
    if (known == DSM_NO_HOST) return home != host->config.host || epoch;
    if (epoch == last) return home == known;
    /* A host that gave a page away may hear that it got it back before it does get it. */
    return epoch < last || !page || !dsm_at_home(page);
}

bool dsm_page_home_is_possible(const struct dsm_host *host, uint64_t id, uint32_t home,
                               uint32_t epoch) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (home >= DSM_MAX_HOSTS) return false;
    if (!region || region->state != DSM_REGION_READY) return true;
    if ((uint32_t)id >= region->pages) return false;
    if (!DSM_RULE_ON(host, DSM_RULE_CLAIM)) return true;
    return dsm_page_home_fits(host, region, (uint32_t)id, home, epoch);
}

/* ---- regions --------------------------------------------------------------------------- */

void dsm_region_send(struct dsm_host *host, uint32_t type, uint32_t id) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, type);
    dsm_put32(host->out, id);
    dsm_sent(host->out, message, 0);
}

struct dsm_region *dsm_region_make(struct dsm_host *host, uint32_t id) {
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof(struct dsm_region));
    struct dsm_region *region = dsm_at(host, ref);
    region->id = id;
    region->next = host->region_list;
    host->region_list = ref;
    dsm_map_put(&host->arena, &host->regions, id, ref);
    return region;
}

/* As an attach whose asker gave up: the answer makes the region, and it is detached again. */
void dsm_region_want(struct dsm_host *host, uint64_t id) {
    if (!id || dsm_region_find(host, id)) return;
    struct dsm_region *region = dsm_region_make(host, (uint32_t)id);
    region->wanted = 1;
    dsm_region_send(host, DSM_MSG_ATTACH, region->id);
}
