/* What hosts announce: notices, changes that come with their bytes, and claims of homes. */
#include "core/master/master.h"

/* ---- notices and claims from hosts ------------------------------------------------------- */

static bool runs_sound(const struct dsm_master *master, struct dsm_cursor cursor, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor) & ~(uint32_t)DSM_MOVED_ONLY;
        uint32_t home = dsm_get16(&cursor);
        dsm_get32(&cursor);
        const struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (region && (uint64_t)(uint32_t)id + count > region->pages) return false;
        if (home >= DSM_MAX_HOSTS) return false;
    }
    return dsm_cursor_done(&cursor);
}

/* Where it is now, if the host knows better; a page that is not settled is not announced. */
static bool settle(const struct dsm_master *master, struct dsm_version *version, uint32_t from,
                   uint32_t home, uint32_t epoch) {
    if (version->home == DSM_NO_HOST && !DSM_RULE_ON(master, DSM_RULE_CLAIM))
        version->home = (uint16_t)from;
    if (epoch > version->epoch) {
        version->home = (uint16_t)home;
        version->epoch = epoch;
    }
    return version->home != DSM_NO_HOST;
}

static void published(struct dsm_master *master, uint32_t host, uint32_t last) {
    master->intervals[host]++;
    if (master->config.model == DSM_ERC && last == 1)
        dsm_eager_publish(master, host);
    else
        dsm_tell_published(master, host);
}

int dsm_mpublish_on_notice(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t last = dsm_get8(cursor), n = dsm_get16(cursor);
    if (!runs_sound(master, *cursor, n)) return DSM_E_PEER;
    master->log++;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t count = dsm_get16(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        bool changed = !(count & DSM_MOVED_ONLY);
        struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (!region) continue; /* unlinked and left by all: nobody can read it */
        count &= ~(uint32_t)DSM_MOVED_ONLY;
        for (uint32_t k = 0; k < count; k++) {
            struct dsm_version *version = dsm_version_of(master, region, (uint32_t)id + k);
            if (!settle(master, version, from, home, epoch) || !changed) continue;
            dsm_mbound_drop(master, version);
            dsm_version_notice(master, version, from);
            if (region->policy == DSM_HOME_HOMELESS) dsm_mhomeless_note(master, version, from);
            dsm_scope_wrote(master, version, from);
        }
    }
    if (last) published(master, from, last);
    return DSM_OK;
}

enum { CHANGE = 18 }; /* bytes of one */

struct change {
    uint64_t id;
    uint32_t home, epoch, len, reader;
};

static struct change next_change(struct dsm_cursor *cursor) {
    struct change change = {.id = dsm_get64(cursor)};
    change.home = dsm_get16(cursor);
    change.epoch = dsm_get32(cursor);
    change.len = dsm_get16(cursor);
    change.reader = dsm_get16(cursor);
    return change;
}

static bool changes_sound(const struct dsm_master *master, struct dsm_cursor cursor, uint32_t n) {
    if (n > DSM_SLICE || (uint64_t)(cursor.end - cursor.at) < (uint64_t)n * CHANGE) return false;
    const uint8_t *bytes = cursor.at + (size_t)n * CHANGE;
    for (uint32_t i = 0; i < n; i++) {
        struct change change = next_change(&cursor);
        const struct dsm_mregion *region = dsm_mregion_find(master, change.id >> 32);
        if (region && (uint32_t)change.id >= region->pages) return false;
        if (region && region->policy == DSM_HOME_HOMELESS) return false;
        if (change.home >= DSM_MAX_HOSTS || change.len > cursor.end - bytes) return false;
        if (!dsm_diff_sound(bytes, change.len, master->config.page_size)) return false;
        bytes += change.len;
    }
    return bytes == cursor.end;
}

int dsm_mpublish_on_changes(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t last = dsm_get8(cursor), n = dsm_get16(cursor);
    if (cursor->bad || !changes_sound(master, *cursor, n)) return DSM_E_PEER;
    const uint8_t *bytes = cursor->at + (size_t)n * CHANGE;
    master->log++;
    for (uint32_t i = 0; i < n; i++) {
        struct change change = next_change(cursor);
        struct dsm_mregion *region = dsm_mregion_find(master, change.id >> 32);
        if (region) {
            struct dsm_version *version = dsm_version_of(master, region, (uint32_t)change.id);
            if (settle(master, version, from, change.home, change.epoch)) {
                dsm_mbound_add(master, version, from, bytes, change.len);
                dsm_mbound_for(master, version, change.reader);
                dsm_version_notice(master, version, from);
                dsm_scope_wrote(master, version, from);
            }
        }
        bytes += change.len;
    }
    if (last) published(master, from, last);
    return DSM_OK;
}

int dsm_mpublish_on_claim(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 8)
        return DSM_E_PEER;
    struct dsm_cursor check = *cursor;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&check);
        const struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (region && (uint32_t)id >= region->pages) return DSM_E_PEER;
    }
    uint32_t message = dsm_send(master->out, from, DSM_FAST, DSM_MSG_CLAIMED);
    dsm_put16(master->out, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        uint32_t home = from, epoch = 0;
        if (region) {
            struct dsm_version *version = dsm_version_of(master, region, (uint32_t)id);
            if (version->home == DSM_NO_HOST) version->home = (uint16_t)from;
            home = version->home;
            epoch = version->epoch;
        }
        dsm_put64(master->out, id);
        dsm_put16(master->out, home);
        dsm_put32(master->out, epoch);
    }
    dsm_sent(master->out, message, 0);
    return DSM_OK;
}
