/* The regions, and the table of their pages' versions: the log of notices.
 *
 * A stamp is a position in the log. The log itself is not kept: for each page its last stamp, the
 * host that made it, and the last stamp by any *other* host are enough. Page p concerns host B if
 * some stamp of p that is not B's own is newer than what B was told. Pages are linked in recency
 * order, so an answer costs its length, and nothing needs collecting.
 */
#include "core/master/master.h"
#include "core/policy/policy.h"

struct dsm_mregion *dsm_mregion_find(const struct dsm_master *master, uint64_t id) {
    dsm_ref ref = dsm_map_get(&master->arena, &master->regions, id);
    return ref ? dsm_at(master, ref) : NULL;
}

struct dsm_version *dsm_version_at(const struct dsm_master *master, dsm_ref ref) {
    return dsm_at(master, ref);
}

uint64_t dsm_version_page(const struct dsm_master *master, const struct dsm_version *version) {
    const struct dsm_mregion *region = dsm_at(master, version->region);
    return (uint64_t)region->id << 32 | version->index;
}

dsm_ref dsm_version_chunk(const struct dsm_master *master, const struct dsm_mregion *region,
                          uint32_t index) {
    return ((dsm_ref *)dsm_at(master, region->chunks))[index / DSM_VERSIONS];
}

struct dsm_version *dsm_version_of(struct dsm_master *master, struct dsm_mregion *region,
                                   uint32_t index) {
    dsm_ref chunk = dsm_version_chunk(master, region, index);
    if (!chunk) {
        chunk = dsm_arena_take(&master->arena, DSM_VERSIONS * sizeof(struct dsm_version));
        struct dsm_version *versions = dsm_at(master, chunk);
        uint32_t first = index / DSM_VERSIONS * DSM_VERSIONS;
        for (uint32_t i = 0; i < DSM_VERSIONS; i++) {
            versions[i].region = dsm_ref_of(master, region);
            versions[i].index = first + i;
            versions[i].home = (uint16_t)dsm_policy_first_home(region->policy, first + i,
                                                               region->pages, region->hosts);
            versions[i].last_host = DSM_NO_HOST;
        }
        ((dsm_ref *)dsm_at(master, region->chunks))[index / DSM_VERSIONS] = chunk;
    }
    return (struct dsm_version *)dsm_at(master, chunk) + index % DSM_VERSIONS;
}

struct dsm_version *dsm_version_find(struct dsm_master *master, uint64_t id) {
    struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
    return region && (uint32_t)id < region->pages ? dsm_version_of(master, region, (uint32_t)id)
                                                  : NULL;
}

/* ---- recency ------------------------------------------------------------------------------- */

void dsm_version_unlink(struct dsm_master *master, struct dsm_version *version) {
    if (!version->last) return;
    if (version->newer)
        dsm_version_at(master, version->newer)->older = version->older;
    else
        master->newest = version->older;
    if (version->older) dsm_version_at(master, version->older)->newer = version->newer;
    version->newer = version->older = 0;
}

void dsm_version_notice(struct dsm_master *master, struct dsm_version *version, uint32_t host) {
    dsm_ref ref = dsm_ref_of(master, version);
    dsm_version_unlink(master, version);
    if (version->last_host != host) version->other = version->last;
    version->last = master->log;
    version->last_host = (uint16_t)host;
    version->older = master->newest;
    if (master->newest) dsm_version_at(master, master->newest)->newer = ref;
    master->newest = ref;
}

/* ---- what concerns whom -------------------------------------------------------------------- */

bool dsm_version_concerns(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host, uint64_t told) {
    if (version->last_host != host) return version->last > told;
    return DSM_RULE_ON(master, DSM_RULE_OTHER_HOST) && version->other > told;
}

bool dsm_version_is_shared(const struct dsm_version *version) {
    return version->lock == DSM_SHARED;
}

uint64_t dsm_version_told(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host) {
    uint64_t told = master->told[host];
    if (!version->lock || version->lock == DSM_SHARED) return told;
    if (!DSM_RULE_ON(master, DSM_RULE_GRANTED)) return told;
    const uint64_t *more = dsm_object_told(master, dsm_at(master, version->lock));
    return more && more[host] > told ? more[host] : told;
}
