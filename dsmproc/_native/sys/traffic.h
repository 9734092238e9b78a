/* What a TCP connection has cost the network, by the kernel's own account. */
#ifndef DSM_SYS_TRAFFIC_H
#define DSM_SYS_TRAFFIC_H
#include <stdint.h>

/* Bytes in each direction so far, headers down to Ethernet's and repetitions included; 0 and 0 for
 * what is no TCP socket. The two ends of a connection count nearly the same. */
void dsm_traffic(int fd, uint64_t *sent, uint64_t *received);

#endif
