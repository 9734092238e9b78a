/* A host is lost: before what it held passes on, all others are cut off from it.
 *
 *   HOST_LOST ──► CUT to all other hosts ──► IS_CUT from each ──► its locks pass on, its
 *                                              barriers break, and programs may be told (ACT_CUT)
 *
 * A diff that it sent before it died may still be on its way to a home that has not heard of the
 * death. Whoever gets its lock, or goes on with the work of one of its processes, may write the
 * same bytes; applied after that, the old diff would undo it (rule CUT).
 */
#include "core/master/master.h"

static void pass_on(struct dsm_master *master, uint32_t host) {
    uint64_t named[DSM_NAMED];
    uint32_t count = 0;
    for (dsm_ref at = master->object_list; at; at = dsm_next(master, at)) {
        struct dsm_object *object = dsm_at(master, at);
        if (object->kind == DSM_OBJ_BARRIER) dsm_barrier_host_lost(master, object, host);
        if (object->kind != DSM_OBJ_LOCK) continue;
        dsm_scope_released(master, object); /* its homes have said what it left, in no scope */
        if (!dsm_mlock_host_lost(master, object, host)) continue;
        if (count < DSM_NAMED) named[count] = object->id;
        count++;
    }
    for (uint32_t i = 0; i < count && i < DSM_NAMED; i++)
        dsm_object_say_died(master, named[i], host, count);
}

static void end_done(struct dsm_master *master) {
    for (dsm_ref at = master->cuts.head, next; at; at = next) {
        const struct dsm_cut *cut = dsm_at(master, at);
        uint32_t host = cut->host;
        next = cut->next;
        if (dsm_hosts_any(cut->silent)) continue;
        dsm_queue_remove(master, &master->cuts, at);
        dsm_arena_give(&master->arena, at, sizeof *cut);
        pass_on(master, host);
        dsm_act(master->out, DSM_ACT_CUT)->host = host;
    }
}

void dsm_cut_host_lost(struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->cuts.head; at; at = dsm_next(master, at))
        dsm_hosts_set(((struct dsm_cut *)dsm_at(master, at))->silent, host, false);
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct dsm_cut));
    struct dsm_cut *cut = dsm_at(master, ref);
    *cut = (struct dsm_cut){.host = host};
    for (uint32_t other = 0; other < DSM_MAX_HOSTS; other++) {
        if (!dsm_hosts_has(master->joined, other)) continue;
        dsm_hosts_set(cut->silent, other, DSM_RULE_ON(master, DSM_RULE_CUT));
        uint32_t message = dsm_send(master->out, other, DSM_FAST, DSM_MSG_CUT);
        dsm_put16(master->out, host);
        dsm_sent(master->out, message, 0);
    }
    dsm_queue_push(master, &master->cuts, ref);
    end_done(master);
}

int dsm_cut_on_is_cut(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t host = dsm_get16(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    for (dsm_ref at = master->cuts.head; at; at = dsm_next(master, at)) {
        struct dsm_cut *cut = dsm_at(master, at);
        if (cut->host == host) dsm_hosts_set(cut->silent, from, false);
    }
    end_done(master);
    return DSM_OK;
}
