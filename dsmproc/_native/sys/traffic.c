#include "sys/traffic.h"
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

enum { ETHERNET = 14, IPV4 = 20, IPV6 = 40, TCP = 20, TIMESTAMPS = 12 };

static bool is_ipv6(int fd) {
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &len) < 0) return false;
    if (name.ss_family != AF_INET6) return false;
    return !IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&name)->sin6_addr);
}

void dsm_traffic(int fd, uint64_t *sent, uint64_t *received) {
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    *sent = *received = 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) return;
    uint64_t head = ETHERNET + TCP + (is_ipv6(fd) ? IPV6 : IPV4);
    if (info.tcpi_options & TCPI_OPT_TIMESTAMPS) head += TIMESTAMPS;
    *sent = info.tcpi_bytes_sent + info.tcpi_segs_out * head;
    *received = info.tcpi_bytes_received + info.tcpi_segs_in * head;
}
