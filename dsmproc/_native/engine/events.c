/* What actions leave behind: results, which are fed before anything else, and events for later. */
#include "engine/engine.h"
#include <string.h>

void dsm_events_result(struct dsmproc_engine *engine, const struct dsm_event *event) {
    if (dsm_buffer_append(&engine->agent.results, event, sizeof *event))
        dsm_engine_fail(engine, "no memory for a result");
}

void dsm_events_later(struct dsmproc_engine *engine, const struct dsm_event *event) {
    struct dsm_later later = {.event = *event};
    if (!later.event.req && (event->kind == DSM_EV_UNLOCK || event->kind == DSM_EV_CALL))
        later.event.req = ++engine->agent.last_req << DSM_REQ_INDEX_BITS | DSM_REQ_NO_CONN;
    if (event->len) memcpy(later.bytes, event->bytes, sizeof later.bytes);
    if (dsm_buffer_append(&engine->agent.later, &later, sizeof later))
        dsm_engine_fail(engine, "no memory for an event");
}
