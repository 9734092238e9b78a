/* The master role: no pages, no clients; messages, membership and regions. */
#include "engine/engine.h"
#include <errno.h>
#include <unistd.h>

int dsm_master_open(struct dsmproc_engine *engine) {
    const struct dsm_config config = {
        .host = DSM_MASTER,
        .page_size = (uint32_t)sysconf(_SC_PAGESIZE),
        .run = engine->options.run,
        .hot = engine->options.hot,
        .grants = engine->options.grants,
        .carry = 8 * engine->options.carry,
        .model = engine->options.model,
    };
    engine->master = dsm_master_init(engine->arena, engine->arena_bytes, &config);
    return engine->master ? 0 : -ENOMEM;
}

void dsm_master_feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (engine->failed) return;
    engine->out.nactions = engine->out.nbytes = 0;
    int result = dsm_master_step(engine->master, event, &engine->out);
    if (result == DSM_E_PEER && event->kind == DSM_EV_MESSAGE)
        dsm_peer_drop(engine, event->host, DSM_FAST, EPROTO);
    else if (result < 0 && event->kind == DSM_EV_REGION_MADE)
        engine->refusal = result; /* a host was lost meanwhile, or there is no room: not our end */
    else if (result < 0)
        dsm_engine_fail(engine, "the master's protocol refuses event %u (%d)%s", event->kind,
                        result, result == DSM_E_MEMORY ? ": its memory is used up" : "");
    else
        dsm_execute(engine, event);
    dsm_peers_stay(engine);
}

void dsm_master_command(struct dsmproc_engine *engine, const struct dsmproc_command *command) {
    struct dsm_event event = {.host = command->host, .id = command->id, .arg = command->arg};
    if (command->kind == DSMPROC_CMD_HOST_JOINED) {
        event.kind = DSM_EV_HOST_JOINED;
    } else if (command->kind == DSMPROC_CMD_REGION_MADE) {
        event.kind = DSM_EV_REGION_MADE;
        event.client = command->channel;
    } else if (command->kind == DSMPROC_CMD_REGION_UNLINK) {
        event.kind = DSM_EV_REGION_UNLINK;
    } else {
        dsm_engine_log(engine, "the master has no command %u", command->kind);
        return;
    }
    dsm_master_feed(engine, &event);
}
