/* Lock words: where a lock's state lives, and the changes that only the engine makes. */
#include "engine/engine.h"
#include <errno.h>
#include <stdlib.h>

static int64_t add_slot(struct dsmproc_engine *engine, uint64_t id) {
    struct dsm_agent *agent = &engine->agent;
    uint32_t slot = atomic_load(&engine->nlocks);
    if (slot == DSM_CONTROL_LOCKS) return -ENOSPC;
    if (slot == agent->locks_room) {
        uint32_t room = agent->locks_room ? agent->locks_room * 2 : 64;
        uint64_t *ids = realloc(agent->lock_ids, room * sizeof *ids);
        if (!ids) return -ENOMEM;
        agent->lock_ids = ids;
        agent->locks_room = room;
    }
    if (dsm_table_put(&agent->locks, id, slot)) return -ENOMEM;
    agent->lock_ids[slot] = id;
    atomic_store(&engine->nlocks, slot + 1);
    return slot;
}

int64_t dsm_locks_open(struct dsmproc_engine *engine, uint64_t id) {
    uint64_t *known = dsm_table_find(&engine->agent.locks, id);
    if (known) return (int64_t)*known;
    return add_slot(engine, id);
}

struct dsm_word *dsm_locks_find(struct dsmproc_engine *engine, uint64_t id) {
    uint64_t *slot = dsm_table_find(&engine->agent.locks, id);
    return slot ? &engine->agent.control->words[*slot] : NULL;
}

void dsm_locks_set(struct dsmproc_engine *engine, const struct dsm_action *action) {
    uint64_t id = action->id;
    uint32_t flag = action->flag, client = action->client;
    struct dsm_word *word = dsm_locks_find(engine, id);
    if (!word && add_slot(engine, id) >= 0)
        word = dsm_locks_find(engine, id); /* recalled from us */
    if (!word) return dsm_engine_fail(engine, "no room for one more lock");
    if (flag == DSM_WORD_TAKE || flag == DSM_WORD_SEIZE) {
        bool ours = flag == DSM_WORD_TAKE ? dsm_word_take(word)
                                          : dsm_word_seize(word, (uint32_t)action->arg);
        struct dsm_event event = {.kind = DSM_EV_WORDED, .id = id, .arg = ours};
        dsm_events_result(engine, &event);
        return;
    }
    if (flag == DSM_WORD_DIED || flag == DSM_WORD_CONSISTENT) {
        atomic_store_explicit(&word->died, flag == DSM_WORD_DIED, memory_order_release);
        return;
    }
    uint32_t value = flag == DSM_WORD_FREE ? DSM_LOCK_FREE : DSM_LOCK_ABSENT;
    if (flag == DSM_WORD_HELD || flag == DSM_WORD_WANTED) {
        const struct dsm_client *holder =
            client < DSM_MAX_CLIENTS ? engine->agent.clients[client] : NULL;
        uint32_t state = flag == DSM_WORD_HELD ? DSM_LOCK_HELD : DSM_LOCK_HELD_WANTED;
        value = (holder ? holder->pid << 2 : 0) | state;
    }
    atomic_store_explicit(&word->word, value, memory_order_release);
}

void dsm_locks_release(struct dsmproc_engine *engine, uint64_t id) {
    struct dsm_word *word = dsm_locks_find(engine, id);
    if (!word || dsm_word_give(word) != DSM_GIVE_ASK) return;
    struct dsm_event event = {.kind = DSM_EV_UNLOCK, .id = id};
    dsm_events_later(engine, &event);
}

void dsm_locks_owner_died(struct dsmproc_engine *engine, uint32_t pid, uint64_t why) {
    uint32_t count = atomic_load(&engine->nlocks);
    for (uint32_t slot = 0; slot < count; slot++) {
        uint32_t now = atomic_load(&engine->agent.control->words[slot].word);
        if ((now & 3) < DSM_LOCK_HELD || (pid && now >> 2 != pid)) continue;
        struct dsm_event event = {
            .kind = DSM_EV_UNLOCK, .id = engine->agent.lock_ids[slot], .arg = now >> 2};
        struct dsmproc_notice notice = {
            .kind = DSMPROC_NOTE_OWNER_DIED, .id = event.id, .pid = now >> 2, .arg = why};
        dsm_events_later(engine, &event);
        dsm_engine_note(engine, &notice);
    }
}
