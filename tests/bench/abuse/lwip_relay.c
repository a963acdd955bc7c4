/* A transparent relay over lwIP (Debian's liblwip): TUN to sockets. Its stack is the library's, unchanged; like
 * tun2socks programs it accepts every SYN, at whatever port, and dials afterwards. The library has no "any
 * address": it answers for the one that the cases' servers have. TCP only, and lwIP's own echo replies.
 *
 *     lwip_relay DEVICE
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#undef IP_HDRINCL

#include "lwip/api.h"
#include "lwip/ip4.h"
#include "lwip/netif.h"
#include "lwip/tcp.h"
#include "lwip/tcpip.h"

static int tun;
static struct netif device;
static unsigned char listening[65536];

struct flow {
    struct netconn *client;
    int target;
};

static void abort_client(struct flow *flow) {
    LOCK_TCPIP_CORE();
    if (flow->client->pcb.tcp) tcp_abort(flow->client->pcb.tcp);
    UNLOCK_TCPIP_CORE();
}

static void *up(void *argument) {
    struct flow *flow = argument;
    struct netbuf *buffer;
    err_t error;
    while ((error = netconn_recv(flow->client, &buffer)) == ERR_OK) {
        do {
            void *data;
            u16_t size;
            netbuf_data(buffer, &data, &size);
            for (u16_t at = 0; at < size;) {
                ssize_t sent = send(flow->target, (char *)data + at, size - at, MSG_NOSIGNAL);
                if (sent <= 0) {
                    netbuf_delete(buffer);
                    abort_client(flow);
                    return NULL;
                }
                at += sent;
            }
        } while (netbuf_next(buffer) >= 0);
        netbuf_delete(buffer);
    }
    if (error == ERR_CLSD) {
        shutdown(flow->target, SHUT_WR);
    } else {
        struct linger hard = {1, 0};
        setsockopt(flow->target, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        shutdown(flow->target, SHUT_RD);
    }
    return NULL;
}

static void *serve(void *argument) {
    struct flow *flow = argument;
    char data[16384];
    ssize_t size;
    struct sockaddr_in to = {.sin_family = AF_INET};
    ip_addr_t address;
    u16_t port;
    pthread_t other;
    netconn_getaddr(flow->client, &address, &port, 1);
    to.sin_addr.s_addr = ip_addr_get_ip4_u32(&address);
    to.sin_port = htons(port);
    flow->target = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(flow->target, (struct sockaddr *)&to, sizeof to) == 0) {
        pthread_create(&other, NULL, up, flow);
        while ((size = recv(flow->target, data, sizeof data, 0)) > 0)
            if (netconn_write(flow->client, data, size, NETCONN_COPY) != ERR_OK) break;
        if (size == 0) {
            netconn_shutdown(flow->client, 0, 1);
            pthread_join(other, NULL);
        } else {
            abort_client(flow);
            pthread_join(other, NULL);
        }
    } else {
        abort_client(flow);
    }
    close(flow->target);
    netconn_close(flow->client);
    netconn_delete(flow->client);
    free(flow);
    return NULL;
}

static void *accept_all(void *argument) {
    struct netconn *listener = argument, *client;
    for (;;) {
        if (netconn_accept(listener, &client) != ERR_OK) continue;
        struct flow *flow = calloc(1, sizeof *flow);
        pthread_t thread;
        flow->client = client;
        if (pthread_create(&thread, NULL, serve, flow) == 0) pthread_detach(thread);
    }
    return NULL;
}

static void listen_at(u16_t port) {
    struct netconn *listener = netconn_new(NETCONN_TCP);
    pthread_t thread;
    netconn_bind(listener, IP4_ADDR_ANY, port);
    netconn_listen(listener);
    pthread_create(&thread, NULL, accept_all, listener);
    pthread_detach(thread);
}

static err_t put(struct netif *netif, struct pbuf *packet, const ip4_addr_t *to) {
    char frame[65536];
    (void)netif, (void)to;
    u16_t size = pbuf_copy_partial(packet, frame, sizeof frame - 1, 0);
    return write(tun, frame, size) < 0 ? ERR_IF : ERR_OK;
}

static err_t start(struct netif *netif) {
    netif->output = put;
    netif->mtu = 1500;
    netif->flags |= NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

int main(int count, char **words) {
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    ip4_addr_t address, mask, gateway;
    unsigned char frame[65536];
    if (count < 2) return 2;
    tun = open("/dev/net/tun", O_RDWR);
    strncpy(wanted.ifr_name, words[1], IFNAMSIZ - 1);
    if (ioctl(tun, TUNSETIFF, &wanted) < 0) {
        perror("cannot make the device");
        return 1;
    }
    tcpip_init(NULL, NULL);
    IP4_ADDR(&address, 10, 98, 1, 1);
    IP4_ADDR(&mask, 0, 0, 0, 0);
    IP4_ADDR(&gateway, 0, 0, 0, 0);
    LOCK_TCPIP_CORE();
    netif_add(&device, &address, &mask, &gateway, NULL, start, tcpip_input);
    netif_set_default(&device);
    netif_set_up(&device);
    UNLOCK_TCPIP_CORE();
    for (;;) {
        ssize_t size = read(tun, frame, sizeof frame);
        if (size <= 0) continue;
        unsigned head = (frame[0] & 15) * 4;
        if (size >= 24 && frame[0] >> 4 == 4 && frame[9] == 6 && size >= (ssize_t)head + 14) {
            u16_t port = frame[head + 2] << 8 | frame[head + 3];
            if ((frame[head + 13] & 0x12) == 2 && port && !listening[port]) {
                listening[port] = 1;
                listen_at(port);
            }
        }
        struct pbuf *packet = pbuf_alloc(PBUF_RAW, size, PBUF_RAM);
        if (packet == NULL) continue;
        pbuf_take(packet, frame, size);
        if (device.input(packet, &device) != ERR_OK) pbuf_free(packet);
    }
}
