/* Locks, semaphores and barriers: the table of them, and those who wait at the master. */
#include "core/master/master.h"

struct dsm_object *dsm_object_find(struct dsm_master *master, uint64_t id, uint32_t kind) {
    dsm_ref ref = dsm_map_get(&master->arena, &master->objects, id);
    struct dsm_object *object = ref ? dsm_at(master, ref) : NULL;
    return object && object->kind == kind ? object : NULL;
}

struct dsm_object *dsm_object_make(struct dsm_master *master, uint64_t id, uint32_t kind) {
    if (!id || dsm_map_get(&master->arena, &master->objects, id)) return NULL;
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct dsm_object));
    struct dsm_object *object = dsm_at(master, ref);
    object->kind = kind;
    object->id = id;
    object->next = master->object_list;
    master->object_list = ref;
    dsm_map_put(&master->arena, &master->objects, id, ref);
    return object;
}

/* ---- who waits ----------------------------------------------------------------------------- */

void dsm_asker_push(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker asker) {
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof asker);
    *(struct dsm_asker *)dsm_at(master, ref) = asker;
    dsm_queue_push(master, queue, ref);
}

bool dsm_asker_pop(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker *asker) {
    dsm_ref ref = dsm_queue_pop(master, queue);
    if (!ref) return false;
    *asker = *(struct dsm_asker *)dsm_at(master, ref);
    dsm_arena_give(&master->arena, ref, sizeof *asker);
    return true;
}

bool dsm_asker_take(struct dsm_master *master, struct dsm_queue *queue, uint32_t host,
                    uint64_t req) {
    for (dsm_ref at = queue->head; at; at = dsm_next(master, at)) {
        const struct dsm_asker *asker = dsm_at(master, at);
        if (asker->host != host || (req && asker->req != req)) continue;
        dsm_queue_remove(master, queue, at);
        dsm_arena_give(&master->arena, at, sizeof *asker);
        return true;
    }
    return false;
}

/* ---- locks --------------------------------------------------------------------------------- */

static bool is_out(const struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->cuts.head; at; at = dsm_next(master, at))
        if (((const struct dsm_cut *)dsm_at(master, at))->host == host) return true;
    return false;
}

bool dsm_object_lost_with(const struct dsm_master *master, struct dsm_object *lock, uint32_t host) {
    if (dsm_hosts_has(master->left, host)) return false;
    lock->died = 1;
    return true;
}

void dsm_object_say_died(struct dsm_master *master, uint64_t lock, uint32_t host, uint64_t count) {
    struct dsm_action *action = dsm_act(master->out, DSM_ACT_OWNER_DIED);
    action->id = lock;
    action->host = host;
    action->arg = count;
}

struct dsm_object *dsm_object_lock(struct dsm_master *master, uint64_t id) {
    struct dsm_object *lock = dsm_object_find(master, id, DSM_OBJ_LOCK);
    if (lock) return lock;
    lock = dsm_object_make(master, id, DSM_OBJ_LOCK);
    if (!lock) return NULL; /* the id is that of something else */
    uint32_t maker = (uint32_t)(id >> 48);
    bool has = dsm_hosts_has(master->joined, maker) || is_out(master, maker);
    lock->holder = has ? maker : DSM_NO_HOST;
    if (!has && dsm_hosts_has(master->gone, maker) && dsm_object_lost_with(master, lock, maker))
        dsm_object_say_died(master, id, maker, 1);
    return lock;
}

uint64_t *dsm_object_told(const struct dsm_master *master, const struct dsm_object *lock) {
    return lock->told ? dsm_at(master, lock->told) : NULL;
}
