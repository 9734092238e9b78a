/* Which of the two an engine is: the agent of a host, or the master. */
#include "engine/engine.h"

bool dsm_role_is_agent(const struct dsmproc_engine *engine) {
    return engine->options.role == DSMPROC_AGENT;
}

void dsm_role_feed(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (dsm_role_is_agent(engine))
        dsm_agent_feed(engine, event);
    else
        dsm_master_feed(engine, event);
}

void dsm_role_check(struct dsmproc_engine *engine) {
    int result =
        dsm_role_is_agent(engine) ? dsm_host_check(engine->host) : dsm_master_check(engine->master);
    struct dsmproc_notice notice = {.kind = DSMPROC_NOTE_CHECKED, .arg = (uint64_t)result};
    dsm_engine_note(engine, &notice);
}
