/* Copies of shared memory in the place of the system's, which a page that is lost makes fail. */
#ifndef DSM_CLIENT_GUARD_H
#define DSM_CLIENT_GUARD_H
#include <stdbool.h>
#include <stddef.h>

/* SIGBUS from here on: a handler that comes later is called in our place. */
void dsm_guard_arm(void);
/* As memcpy; false, and EFAULT: a page is lost, as a system call would say. */
bool dsm_guard_copy(void *to, const void *from, size_t size);

#endif
