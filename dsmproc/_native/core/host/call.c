/* Operations on objects kept at the master: semaphores and barriers (and remote unlocks).
 *
 * The host only passes them on. Those that release publish first, and leave behind the NOTICE on
 * the same connection; the answer, being an acquire, waits at the gate for the notices before it.
 */
#include "core/host/host.h"

enum { SENT = 1 }; /* in job->status */

int dsm_call_request(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_cursor cursor = {.at = event->bytes, .end = event->bytes + event->len};
    struct dsm_job job = {.kind = DSM_JOB_CALL, .op = (uint8_t)event->arg, .req = event->req};
    job.id = event->id;
    job.a = dsm_get64(&cursor);
    job.b = dsm_get64(&cursor);
    job.c = dsm_get64(&cursor);
    if (!dsm_cursor_done(&cursor) || !event->id || event->arg == 0 || event->arg >= DSM_CALL_UNLOCK)
        return DSM_E_EVENT;
    dsm_ref ref = dsm_job_new(host, job);
    if (job.op == DSM_CALL_SEM_RELEASE || job.op == DSM_CALL_SEM_WAKE ||
        job.op == DSM_CALL_BAR_WAIT || job.op == DSM_CALL_BAR_DONE)
        dsm_publish_then(host, ref);
    else
        dsm_call_send(host, ref);
    return DSM_OK;
}

void dsm_call_send(struct dsm_host *host, dsm_ref ref) {
    struct dsm_job *job = dsm_at(host, ref);
    if (job->cancelled) {
        dsm_job_reply(host, ref, DSM_ST_CANCELLED, 0);
        return;
    }
    job->status = SENT;
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_CALL);
    dsm_put64(host->out, job->req);
    dsm_put8(host->out, job->op);
    dsm_put64(host->out, job->id);
    dsm_put64(host->out, job->a);
    dsm_put64(host->out, job->b);
    dsm_put64(host->out, job->c);
    dsm_sent(host->out, message, 0);
}

void dsm_call_returned(struct dsm_host *host, const struct dsm_job *answer) {
    dsm_ref ref = dsm_map_get(&host->arena, &host->requests, answer->req);
    if (!ref) return;
    const struct dsm_job *job = dsm_at(host, ref);
    if (job->kind != DSM_JOB_CALL || job->status != SENT) return; /* it was not asked */
    if (job->op == DSM_CALL_BAR_WAIT && answer->status == DSM_ST_OK)
        dsm_count(host, DSM_COUNT_BARRIERS, 1);
    dsm_job_reply(host, ref, answer->status, answer->arg);
}

void dsm_call_cancel(struct dsm_host *host, dsm_ref ref) {
    struct dsm_job *job = dsm_at(host, ref);
    job->cancelled = 1; /* its publish still runs: answered when it would be sent */
    if (job->status != SENT) return;
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_CANCEL);
    dsm_put64(host->out, job->req);
    dsm_sent(host->out, message, 0);
}
