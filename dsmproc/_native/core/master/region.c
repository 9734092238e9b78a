/* Regions at the master: made by the control plane, attached by hosts, ended when unlinked and
 * attached nowhere. A host that detached keeps its pages (it may be their home) until then.
 *
 * Where the policy says beforehand who is home, those hosts must know the region before anybody
 * can write to it: they are told when it is made, and attaches wait until all have answered (by
 * DETACH, for nobody there uses it yet). */
#include <string.h>

#include "core/master/master.h"
#include "core/policy/policy.h"

static void announce(struct dsm_master *master, struct dsm_mregion *region) {
    if (dsm_policy_first_home(region->policy, 0, region->pages, region->hosts) == DSM_NO_HOST)
        return;
    for (uint32_t host = 0; host < region->hosts; host++) {
        dsm_tell_region(master, host, region, false, false);
        dsm_hosts_set(region->known, host, true);
        dsm_hosts_set(region->unready, host, true);
    }
}

static bool all_joined(const struct dsm_master *master, uint32_t hosts) {
    for (uint32_t host = 0; host < hosts; host++)
        if (!dsm_hosts_has(master->joined, host)) return false;
    return true;
}

int dsm_mregion_made(struct dsm_master *master, const struct dsm_event *event) {
    if (!event->id || event->id > UINT32_MAX || dsm_mregion_find(master, event->id) ||
        !event->arg || event->arg > UINT32_MAX || !dsm_policy_known(event->client) ||
        event->host > DSM_MAX_HOSTS)
        return DSM_E_EVENT;
    if (event->client != DSM_HOME_FIRST && !all_joined(master, event->host)) return DSM_E_EVENT;
    bool lazy = master->config.model == DSM_LRC || master->config.model == DSM_ERC;
    if (event->client == DSM_HOME_HOMELESS && !lazy) return DSM_E_EVENT;
    uint32_t nchunks = (uint32_t)((event->arg + DSM_VERSIONS - 1) / DSM_VERSIONS);
    if (!dsm_arena_room(&master->arena, nchunks * sizeof(dsm_ref))) return DSM_E_MEMORY;
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct dsm_mregion));
    struct dsm_mregion *region = dsm_at(master, ref);
    region->id = (uint32_t)event->id;
    region->pages = (uint32_t)event->arg;
    region->policy = (uint8_t)event->client;
    region->hosts = (uint16_t)event->host;
    region->nchunks = nchunks;
    region->chunks = dsm_arena_take(&master->arena, nchunks * sizeof(dsm_ref));
    region->next = master->region_list;
    master->region_list = ref;
    dsm_map_put(&master->arena, &master->regions, event->id, ref);
    announce(master, region);
    return DSM_OK;
}

static void forget_versions(struct dsm_master *master, struct dsm_mregion *region) {
    dsm_scope_forget(master, region);
    for (uint32_t i = 0; i < region->nchunks; i++) {
        dsm_ref chunk = ((dsm_ref *)dsm_at(master, region->chunks))[i];
        if (!chunk) continue;
        struct dsm_version *versions = dsm_at(master, chunk);
        for (uint32_t k = 0; k < DSM_VERSIONS; k++) {
            dsm_version_unlink(master, &versions[k]);
            dsm_mbound_drop(master, &versions[k]);
            dsm_mhomeless_forget(master, &versions[k]);
        }
        dsm_arena_give(&master->arena, chunk, DSM_VERSIONS * sizeof *versions);
    }
    dsm_arena_give(&master->arena, region->chunks, region->nchunks * sizeof(dsm_ref));
}

static void end_if_unused(struct dsm_master *master, struct dsm_mregion *region) {
    if (!region->unlinked || dsm_hosts_any(region->attached) || dsm_hosts_any(region->unready))
        return;
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++) {
        if (!dsm_hosts_has(region->known, host)) continue;
        uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_DROP);
        dsm_put32(master->out, region->id);
        dsm_sent(master->out, message, 0);
    }
    dsm_act(master->out, DSM_ACT_REGION_END)->id = region->id;
    dsm_mrecover_forget(master, region->id);
    forget_versions(master, region);
    dsm_msingle_end(master, region->id);
    dsm_ref *at = &master->region_list, ref = dsm_ref_of(master, region);
    while (*at != ref)
        at = &((struct dsm_mregion *)dsm_at(master, *at))->next;
    *at = region->next;
    dsm_map_drop(&master->arena, &master->regions, region->id);
    dsm_arena_give(&master->arena, ref, sizeof *region);
}

int dsm_mregion_unlink(struct dsm_master *master, const struct dsm_event *event) {
    struct dsm_mregion *region = dsm_mregion_find(master, event->id);
    if (!region || region->unlinked) return DSM_E_EVENT;
    region->unlinked = 1;
    end_if_unused(master, region);
    return DSM_OK;
}

static void refuse(struct dsm_master *master, uint32_t to, uint32_t id) {
    uint32_t message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_REGION);
    dsm_put32(master->out, id);
    dsm_put8(master->out, DSM_ST_NO_REGION);
    dsm_put32(master->out, 0);
    dsm_put8(master->out, 0);
    dsm_put16(master->out, 0);
    dsm_put8(master->out, 1);
    dsm_put16(master->out, 0);
    dsm_sent(master->out, message, 0);
}

static void attach(struct dsm_master *master, struct dsm_mregion *region, uint32_t host) {
    dsm_tell_region(master, host, region, !dsm_hosts_has(region->known, host), true);
    dsm_hosts_set(region->attached, host, true);
    dsm_hosts_set(region->known, host, true);
}

int dsm_mregion_on_attach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t id = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    struct dsm_mregion *region = dsm_mregion_find(master, id);
    if (!region) {
        refuse(master, from, id);
        return DSM_OK;
    }
    if (dsm_hosts_any(region->unready))
        dsm_asker_push(master, &region->askers, (struct dsm_asker){.host = from});
    else
        attach(master, region, from);
    return DSM_OK;
}

static void homes_are_ready(struct dsm_master *master, struct dsm_mregion *region) {
    struct dsm_asker asker;
    if (dsm_hosts_any(region->unready)) return;
    while (dsm_asker_pop(master, &region->askers, &asker))
        attach(master, region, asker.host);
}

int dsm_mregion_on_detach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    struct dsm_mregion *region = dsm_mregion_find(master, dsm_get32(cursor));
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    if (!region) return DSM_OK;
    if (dsm_hosts_has(region->unready, from)) {
        dsm_hosts_set(region->unready, from, false);
        homes_are_ready(master, region);
    } else {
        dsm_hosts_set(region->attached, from, false);
    }
    end_if_unused(master, region);
    return DSM_OK;
}

void dsm_mregion_host_lost(struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->region_list, next; at; at = next) {
        struct dsm_mregion *region = dsm_at(master, at);
        next = region->next;
        dsm_hosts_set(region->attached, host, false);
        dsm_hosts_set(region->known, host, false);
        dsm_hosts_set(region->unready, host, false);
        while (dsm_asker_take(master, &region->askers, host, 0))
            continue;
        homes_are_ready(master, region);
        end_if_unused(master, region);
    }
}
