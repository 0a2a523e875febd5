/* The C bound: the least that C can do and still be a SIP proxy to these messages, `bound OUR-PORT SERVER-PORT`.
 *
 * A request gets one Via, and REGISTER a Path or INVITE a Record-Route, one hop less, and loses its Route lines; an
 * answer loses the Via. The client's address stands in the Via's branch, the server is the sum of the Call-ID's first
 * bytes: nothing is remembered, nothing is checked, nothing but the messages of bench/messages is understood. 64
 * datagrams per system call, the pieces of a message gathered by the kernel. What it costs is the kernel's price and
 * hardly more, so nobody who reads SIP can be below it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define LONGEST 4096
#define PIECES 8
#define SERVERS 3
#define COOKIE ";branch=z9hG4bK"

static char bytes[BATCH][LONGEST], tops[BATCH][256];
static struct sockaddr_in from[BATCH], to[BATCH];
static struct iovec in_pieces[BATCH], out_pieces[BATCH][PIECES];
static struct mmsghdr in[BATCH], out[BATCH];
static in_port_t our_port, server_port;

static void piece(struct msghdr *message, char *at, char *end) {
    message->msg_iov[message->msg_iovlen++] = (struct iovec){at, (size_t)(end - at)};
}

/* What follows `name`, NULL without it. */
static char *after(char *at, char *end, const char *name) {
    char *found = memmem(at, (size_t)(end - at), name, strlen(name));
    return found ? found + strlen(name) : NULL;
}

static int ask(int i, struct msghdr *message, char *at, char *end) {
    char *line = after(at, end, "\r\n"), *hops = after(at, end, "\nMax-Forwards: 7"), *call = after(at, end, "\nCall-ID: ");
    if (!line || !hops || !call) return 0;
    unsigned sum = 0;
    for (int n = 0; n < 16; n++) sum += (unsigned char)call[n];
    to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = server_port};
    to[i].sin_addr.s_addr = htonl(0x7F000201u + sum % SERVERS);
    const char *route = *at == 'R' ? "Path: <sip:127.0.0.1;lr>\r\n" : *at == 'I' ? "Record-Route: <sip:127.0.0.1;lr>\r\n" : "";
    int length = sprintf(tops[i], "Via: SIP/2.0/UDP 127.0.0.1:%u" COOKIE "%08x%04x\r\n%s", ntohs(our_port),
                         ntohl(from[i].sin_addr.s_addr), ntohs(from[i].sin_port), route);
    memcpy(hops - 1, "69", 2);
    piece(message, at, line);
    piece(message, tops[i], tops[i] + length);
    for (char *cut; (cut = after(line, end, "\nRoute: ")) && message->msg_iovlen < PIECES - 1;) {
        piece(message, line, cut - 7);
        line = after(cut, end, "\r\n");
    }
    piece(message, line, end);
    return 1;
}

static int answer(int i, struct msghdr *message, char *at, char *end) {
    char *via = after(at, end, "\r\n"), *branch = after(at, end, COOKIE), *next = branch ? after(branch, end, "\r\n") : NULL;
    unsigned address, port;
    if (!next || sscanf(branch, "%8x%4x", &address, &port) != 2) return 0;
    to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((in_port_t)port), .sin_addr.s_addr = htonl(address)};
    piece(message, at, via);
    piece(message, next, end);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    our_port = htons((in_port_t)atoi(argv[1])), server_port = htons((in_port_t)atoi(argv[2]));
    struct sockaddr_in our = {.sin_family = AF_INET, .sin_port = our_port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&our, sizeof our)) return perror("bind"), 1;
    for (int i = 0; i < BATCH; i++) {
        in_pieces[i] = (struct iovec){bytes[i], LONGEST};
        in[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &in_pieces[i], .msg_iovlen = 1};
    }
    for (;;) {
        int count = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL), ready = 0;
        for (int i = 0; i < count; i++) {
            char *at = bytes[i], *end = at + in[i].msg_len;
            struct msghdr *message = &out[ready].msg_hdr;
            *message = (struct msghdr){.msg_name = &to[i], .msg_namelen = sizeof to[i], .msg_iov = out_pieces[i]};
            ready += in[i].msg_len > 16 && (memcmp(at, "SIP/2.0 ", 8) ? ask : answer)(i, message, at, end);
        }
        for (int sent = 0, now; sent < ready; sent += now)
            if ((now = sendmmsg(fd, out + sent, (unsigned)(ready - sent), 0)) <= 0) break;
    }
}
