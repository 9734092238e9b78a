/* Eager release consistency (Munin), as a model: a release tells all hosts of what was written
 * before it, and ends when they have invalidated their copies (rule KNOWN). An acquire has nothing
 * to ask.
 *
 *   NOTICE ──► NOTICES, TOLD to all other hosts ──► KNOWN from each ──► PUBLISHED
 *
 * Whatever a host does after a publish waits for its PUBLISHED (host/publish.c).
 */
#include "core/master/master.h"

struct eager { /* of master->eager, in the order of their stamps */
    dsm_ref next;
    uint32_t host;
    uint64_t stamp;
    uint64_t silent[DSM_HOST_WORDS]; /* hosts that have not said that they know */
};

static void end_known(struct dsm_master *master) {
    for (dsm_ref at = master->eager.head, next; at; at = next) {
        const struct eager *publish = dsm_at(master, at);
        next = publish->next;
        if (dsm_hosts_any(publish->silent)) continue;
        if (dsm_hosts_has(master->joined, publish->host)) dsm_tell_published(master, publish->host);
        dsm_queue_remove(master, &master->eager, at);
        dsm_arena_give(&master->arena, at, sizeof *publish);
    }
}

void dsm_eager_publish(struct dsm_master *master, uint32_t host) {
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct eager));
    struct eager *publish = dsm_at(master, ref);
    *publish = (struct eager){.host = host, .stamp = master->log};
    for (uint32_t other = 0; other < DSM_MAX_HOSTS; other++) {
        if (other == host || !dsm_hosts_has(master->joined, other)) continue;
        dsm_hosts_set(publish->silent, other, DSM_RULE_ON(master, DSM_RULE_KNOWN));
        dsm_tell(master, other);
        uint32_t message = dsm_send(master->out, other, DSM_FAST, DSM_MSG_TOLD);
        dsm_put64(master->out, master->log);
        dsm_sent(master->out, message, 0);
    }
    dsm_queue_push(master, &master->eager, ref);
    end_known(master);
}

int dsm_eager_on_known(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t stamp = dsm_get64(cursor);
    if (!dsm_cursor_done(cursor) || stamp > master->log) return DSM_E_PEER;
    for (dsm_ref at = master->eager.head; at; at = dsm_next(master, at)) {
        struct eager *publish = dsm_at(master, at);
        if (publish->stamp <= stamp) dsm_hosts_set(publish->silent, from, false);
    }
    end_known(master);
    return DSM_OK;
}

void dsm_eager_host_lost(struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->eager.head; at; at = dsm_next(master, at))
        dsm_hosts_set(((struct eager *)dsm_at(master, at))->silent, host, false);
    end_known(master);
}
