/* What the engine says of itself: notices for Python, counters. Any file of it may. */
#include "engine/engine.h"
#include <stdarg.h>
#include <stdio.h>

void dsm_engine_note(struct dsmproc_engine *engine, const struct dsmproc_notice *notice) {
    pthread_mutex_lock(&engine->mutex);
    (void)dsm_buffer_append(&engine->notices, notice, sizeof *notice);
    pthread_mutex_unlock(&engine->mutex);
    dsm_eventfd_raise(engine->notice_fd);
}

static void say(struct dsmproc_engine *engine, uint32_t kind, const char *format,
                va_list arguments) {
    struct dsmproc_notice notice = {.kind = kind};
    vsnprintf(notice.text, sizeof notice.text, format, arguments);
    dsm_engine_note(engine, &notice);
}

void dsm_engine_log(struct dsmproc_engine *engine, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(engine, DSMPROC_NOTE_LOG, format, arguments);
    va_end(arguments);
}

void dsm_engine_fail(struct dsmproc_engine *engine, const char *format, ...) {
    if (engine->failed) return;
    engine->failed = true;
    va_list arguments;
    va_start(arguments, format);
    say(engine, DSMPROC_NOTE_FATAL, format, arguments);
    va_end(arguments);
}

void dsm_engine_count(struct dsmproc_engine *engine, uint32_t stat, uint64_t add) {
    if (stat < DSMPROC_STATS)
        atomic_fetch_add_explicit(&engine->stats[stat], add, memory_order_relaxed);
}

void dsm_engine_set(struct dsmproc_engine *engine, uint32_t stat, uint64_t value) {
    atomic_store_explicit(&engine->stats[stat], value, memory_order_relaxed);
}
