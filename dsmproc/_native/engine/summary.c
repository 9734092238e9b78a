/* What clients read without asking: the control segment. */
#include "engine/engine.h"

int dsm_summary_open(struct dsmproc_engine *engine, uint32_t page_size) {
    struct dsm_agent *agent = &engine->agent;
    int error =
        dsm_memory_make(&agent->control_memory, "dsmproc-control", sizeof(struct dsm_control));
    if (error) return error;
    agent->control = (struct dsm_control *)(void *)agent->control_memory.base;
    agent->control->magic = DSM_CONTROL_MAGIC;
    agent->control->page_size = page_size;
    agent->control->host = engine->options.host;
    agent->control->locks = DSM_CONTROL_LOCKS;
    return 0;
}

void dsm_summary_show(struct dsmproc_engine *engine) {
    struct dsm_control *control = engine->agent.control;
    atomic_store(&control->seen, engine->agent.summary.seen);
    atomic_store(&control->out, engine->agent.summary.out);
}
