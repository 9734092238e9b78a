#include "client/guard.h"
#include "client/ranges.h"
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static _Thread_local sigjmp_buf *volatile jump; /* where this thread's copy fails to */
static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Not ours: for whoever had the signal, or for the system, which meets it again. */
static void chain(int number, siginfo_t *info, void *context) {
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(number, info, context);
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        return before.sa_handler(number);
    sigaction(SIGBUS, &before, NULL);
    if (info->si_code <= 0) raise(number); /* sent, not met: it would not come again */
}

static void on_bus(int number, siginfo_t *info, void *context) {
    if (info->si_code > 0 && jump && dsm_ranges_touch(info->si_addr, 1)) siglongjmp(*jump, 1);
    chain(number, info, context);
}

static void arm(void) {
    struct sigaction ours = {.sa_sigaction = on_bus,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (sigaction(SIGBUS, NULL, &before) == 0) sigaction(SIGBUS, &ours, NULL);
}

void dsm_guard_arm(void) {
    pthread_once(&once, arm);
}

bool dsm_guard_copy(void *to, const void *from, size_t size) {
    sigjmp_buf here, *volatile outer =
                         jump; /* a signal's handler may copy in the midst of a copy */
    if (sigsetjmp(here, 0)) {
        jump = outer;
        errno = EFAULT;
        return false;
    }
    jump = &here;
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(to, from, size);
    atomic_signal_fence(memory_order_seq_cst);
    jump = outer;
    return true;
}
