/* Changes that came with their bytes (host/bound.c), and who may be told them as updates.
 *
 * For a page whose last notices all came as CHANGES the master keeps their diffs, the newest ones,
 * and `since`: the stamp of the last notice of the page whose bytes it does not have. A host that
 * was told everything up to `since` has, or can have, a copy to which just those diffs are missing
 * that are newer than what it was told, and not its own: it gets them, in their order. Any other is
 * told the page's name, as ever.
 *
 * Each diff must be told to a host once, at its place in the log: a host may have written the same
 * bytes since, under the same lock, and an older diff would undo that.
 */
#include "core/master/master.h"

enum { DIFFS_MAX = 32 }; /* kept for one page */

struct carried {
    dsm_ref next;
    uint16_t host, len;
    uint64_t stamp;
    uint8_t bytes[];
};

struct carry { /* struct dsm_version.carry */
    struct dsm_queue diffs;
    uint32_t n, bytes;
    uint32_t reader; /* who is told the bytes (DSM_NO_HOST: all) */
    uint64_t since;
};

static uint64_t size_of(uint32_t len) {
    return sizeof(struct carried) + len;
}

static void drop_oldest(struct dsm_master *master, struct carry *carry) {
    dsm_ref ref = dsm_queue_pop(master, &carry->diffs);
    const struct carried *diff = dsm_at(master, ref);
    carry->n--;
    carry->bytes -= diff->len;
    dsm_arena_give(&master->arena, ref, size_of(diff->len));
}

void dsm_mbound_drop(struct dsm_master *master, struct dsm_version *version) {
    if (!version->carry) return;
    struct carry *carry = dsm_at(master, version->carry);
    while (carry->n)
        drop_oldest(master, carry);
    dsm_arena_give(&master->arena, version->carry, sizeof *carry);
    version->carry = 0;
}

static bool equal(const uint8_t *a, const uint8_t *b, uint32_t len) {
    for (uint32_t i = 0; i < len; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* Do they name the same bytes (diff.c)? Then the older one is not needed any more. */
static bool alike(const uint8_t *a, const uint8_t *b, uint32_t len, uint32_t page_size) {
    if (a[0] != b[0]) return false;
    if (a[0] != DSM_DIFF_RUNS) return equal(a + 1, b + 1, page_size / 8);
    for (uint32_t at = 1; at < len;) {
        if (!equal(a + at, b + at, DSM_DIFF_RUN_HEAD)) return false;
        at += DSM_DIFF_RUN_HEAD + (a[at + 2] | (uint32_t)a[at + 3] << 8);
    }
    return true;
}

static void drop_older(struct dsm_master *master, struct carry *carry, const uint8_t *bytes,
                       uint32_t len) {
    for (dsm_ref at = carry->diffs.head, next; at; at = next) {
        const struct carried *diff = dsm_at(master, at);
        next = diff->next;
        if (diff->len != len || !alike(diff->bytes, bytes, len, master->config.page_size)) continue;
        dsm_queue_remove(master, &carry->diffs, at);
        carry->n--;
        carry->bytes -= len;
        dsm_arena_give(&master->arena, at, size_of(len));
    }
}

void dsm_mbound_add(struct dsm_master *master, struct dsm_version *version, uint32_t host,
                    const uint8_t *bytes, uint32_t len) {
    uint64_t room = size_of(len) + sizeof(struct carry);
    if (len > master->config.carry || !dsm_arena_room(&master->arena, room) ||
        dsm_version_is_shared(version)) {
        dsm_mbound_drop(master, version);
        return;
    }
    if (!version->carry) {
        version->carry = dsm_arena_take(&master->arena, sizeof(struct carry));
        ((struct carry *)dsm_at(master, version->carry))->since = version->last;
    }
    struct carry *carry = dsm_at(master, version->carry);
    drop_older(master, carry, bytes, len);
    while (carry->n == DIFFS_MAX || carry->bytes + len > master->config.carry) {
        carry->since = ((const struct carried *)dsm_at(master, carry->diffs.head))->stamp;
        drop_oldest(master, carry);
    }
    dsm_ref ref = dsm_arena_take(&master->arena, size_of(len));
    struct carried *diff = dsm_at(master, ref);
    diff->host = (uint16_t)host;
    diff->len = (uint16_t)len;
    diff->stamp = master->log;
    for (uint32_t i = 0; i < len; i++)
        diff->bytes[i] = bytes[i];
    dsm_queue_push(master, &carry->diffs, ref);
    carry->n++;
    carry->bytes += len;
}

void dsm_mbound_for(struct dsm_master *master, struct dsm_version *version, uint32_t reader) {
    if (version->carry) ((struct carry *)dsm_at(master, version->carry))->reader = reader;
}

bool dsm_mbound_serves(const struct dsm_master *master, const struct dsm_version *version,
                       uint32_t host) {
    if (!version->carry) return false;
    const struct carry *carry = dsm_at(master, version->carry);
    if (carry->reader != DSM_NO_HOST && carry->reader != host) return false;
    return carry->since <= dsm_version_told(master, version, host) ||
           !DSM_RULE_ON(master, DSM_RULE_SINCE);
}

static void put_diff(struct dsm_master *master, uint64_t id, const struct dsm_version *version,
                     const struct carried *diff) {
    dsm_put64(master->out, id);
    dsm_put16(master->out, version->home);
    dsm_put32(master->out, version->epoch);
    dsm_put16(master->out, diff->len);
    for (uint32_t i = 0; i < diff->len; i++)
        dsm_put8(master->out, diff->bytes[i]);
}

void dsm_mbound_tell(struct dsm_master *master, struct dsm_updates *updates, uint32_t host,
                     uint64_t id, const struct dsm_version *version) {
    const struct carry *carry = dsm_at(master, version->carry);
    uint64_t upto = dsm_version_told(master, version, host);
    for (dsm_ref at = carry->diffs.head; at; at = dsm_next(master, at)) {
        const struct carried *diff = dsm_at(master, at);
        bool told = diff->stamp <= upto && DSM_RULE_ON(master, DSM_RULE_ONCE);
        if (told || diff->host == host) continue;
        if (updates->n == DSM_BATCH) dsm_mbound_end(master, updates);
        if (!updates->n) {
            updates->message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_UPDATES);
            updates->n_at = master->out->nbytes;
            dsm_put16(master->out, 0);
        }
        put_diff(master, id, version, diff);
        updates->n++;
    }
}

void dsm_mbound_end(struct dsm_master *master, struct dsm_updates *updates) {
    if (!updates->n) return;
    dsm_patch16(master->out, updates->n_at, updates->n);
    dsm_sent(master->out, updates->message, 0);
    updates->n = 0;
}
