/* The load: phones and servers in one process, one thread, beside the program under test.
 *
 *   load MESSAGES TARGET_PORT PHONES HOPS [PATIENCE]
 *
 * MESSAGES   folder of templates (*.sip, with {fields})
 * PHONES     how many phones; phone i has the address 127.16.0.0 + 1 + i, port 5080
 * HOPS       1: the program under test is a SIP proxy (Via, Record-Route, Path, Max-Forwards are checked); 0: it is blind
 * PATIENCE   seconds after which what is missing is lost; 2 when not given
 *
 * The program under test listens at 127.0.0.1:TARGET_PORT and forwards to 127.0.2.1 and the addresses after it, port 5070.
 * Commands on stdin, one JSON line on stdout for each:
 *
 *   run MIX LOOP SIZE WAIT WARM SECONDS PID[,PID...]
 *     MIX register|call|storm (one call among 49 REGISTERs), LOOP closed (SIZE in flight) or open (SIZE transactions per
 *     second, Poisson; latency is taken from the kernel's time of arrival) or step (as open, and when the measurement has
 *     ended a sixth of that for five seconds), WAIT block|nap, PIDs: whose CPU time counts
 *   all SIZE FIRST COUNT       COUNT phones from FIRST on register once each, SIZE in flight; CPU is not measured
 *   order random|ring          which phone is next: a random one, so that no cache has it, or one after the other
 *   quit
 *
 * Every answer is held against what was asked: phone, Via, Call-ID, CSeq; every request against what the program under
 * test must have done to it. What is missing after PATIENCE is lost. Nothing is repeated: a loss is a loss.
 *
 * WAIT says what the loop does when nothing has come: `block` in poll, and every datagram that finds it asleep wakes it,
 * which on loopback is charged to whoever sent (in a virtual machine that costs more than the message); or `nap` for
 * 50 us (150 with 256 in flight or more). Phones of real life are woken by their own kernels, so `nap` is nearer to the truth, but where the program
 * under test must be waited for (one in flight) only `block` is quick.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define QUEUE 256
#define MESSAGE 4096
#define SLOTS 65536
#define SAMPLES 8000000
#define PHONE_PORT 5080
#define SERVER_PORT 5070
#define SECOND 1000000000ull
#define AFTERMATH (5 * SECOND)
#define CALL_AMONG 50
#define NAP 50000
#define LONG_NAP 150000 /* from MANY in flight on: fewer, larger batches, and still no queue runs dry */
#define MANY 256

struct text {
    const char *at;
    size_t length;
};

enum field {
    USER, HOST, BRANCH, CALL, CSEQ, TAG, TO, TARGET, ROUTES, VIAS, RECORD_ROUTES, FROM, CALL_ID, CONTACT, SERVER, FIELDS
};
static const char *const field_names[FIELDS] = {"user",   "host", "branch",        "call", "cseq",    "tag",     "to",
                                                "target", "routes", "vias", "record_routes", "from", "call_id", "contact",
                                                "server"};

/* What a message is, for its template and for the clock of each. */
enum kind { REGISTER, REGISTER_200, INVITE, TRYING, RINGING, INVITE_200, ACK, BYE, BYE_200, OPTIONS_200, KINDS };
static const char *const kind_names[KINDS] = {"register",   "register-200", "invite", "100",     "180",
                                              "invite-200", "ack",          "bye",    "bye-200", "options-200"};

struct template {
    int count;
    struct text literal[32];
    enum field field[32]; /* follows its literal; FIELDS at the end */
};

/* The headers that matter, as they stand in a received message. */
struct message {
    struct text vias[8], record_routes[8], call_id, cseq, from, to, contact;
    int via_count, record_route_count, routes, paths, hops;
};

enum state { FREE, REGISTERING, INVITING, ENDING };

/* One transaction (REGISTER) or call in flight. */
struct slot {
    enum state state;
    int phone, server;
    uint32_t serial;
    uint64_t begun, sent[KINDS];
    size_t to_length, target_length, routes_length;
    char to[256], target[256], routes[1024];
};

struct out {
    int fd, count;
    struct mmsghdr headers[QUEUE];
    struct iovec vectors[QUEUE];
    struct sockaddr_in names[QUEUE];
    uint64_t *stamps[QUEUE];
    char controls[QUEUE][CMSG_SPACE(sizeof(struct in_pktinfo))];
    char bytes[QUEUE][MESSAGE];
};

struct in {
    int fd;
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in names[BATCH];
    char controls[BATCH][128];
    char bytes[BATCH][MESSAGE];
};

struct counts {
    uint64_t begun, completed, lost, wrong, repeats, acks, calls, skipped, sent, received, bytes;
    uint64_t calls_begun, calls_completed, calls_lost;
};

static struct template templates[KINDS];
static struct slot slots[SLOTS];
static uint64_t ages[SLOTS]; /* slot -> when its transaction, or the BYE of its call, began; 0: free */
static int *phone_slot;        /* phone -> its slot, -1 when idle */
static uint32_t *phone_serial; /* phone -> number of its last transaction */
static int free_slots[SLOTS], free_count;
static struct out phone_out, server_out;
static struct in phone_in, server_in;
static struct counts counts;
static uint32_t *samples;
static size_t sample_count;
static int phones, hops, next_phone, at_random;
static uint64_t longest_nap = NAP;
static int measuring, timing, calling, storming;
static uint64_t patience = 2 * SECOND, calm, last_lost; /* step: when the load fell, and when what was lost last began */
static char first_wrong[512];
static struct sockaddr_in target;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    return clock_gettime(id, &t) ? 0 : (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void wrong(const char *what, const char *bytes, size_t length) {
    counts.wrong++;
    if (!first_wrong[0]) {
        int n = snprintf(first_wrong, sizeof first_wrong, "%s: %.*s", what, (int)(length < 400 ? length : 400), bytes);
        for (int i = 0; i < n && i < (int)sizeof first_wrong; i++)
            if (first_wrong[i] < ' ' || first_wrong[i] == '"' || first_wrong[i] == '\\') first_wrong[i] = '~';
    }
}

/* Templates. */

static void read_template(const char *folder, enum kind kind) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.sip", folder, kind_names[kind]);
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    char *text = malloc(MESSAGE);
    size_t length = 0;
    for (int c, before = 0; (c = fgetc(file)) != EOF; before = c) {
        if (length + 2 > MESSAGE) fail("a template is too long");
        if (c == '\n' && before != '\r') text[length++] = '\r';
        text[length++] = (char)c;
    }
    fclose(file);
    struct template *t = &templates[kind];
    size_t from = 0;
    for (size_t at = 0; at < length; at++) {
        if (text[at] != '{') continue;
        for (int f = 0; f < FIELDS; f++) {
            size_t n = strlen(field_names[f]);
            if (strncmp(text + at + 1, field_names[f], n) || text[at + 1 + n] != '}') continue;
            t->literal[t->count] = (struct text){text + from, at - from};
            t->field[t->count++] = (enum field)f;
            from = at + n + 2;
        }
    }
    t->literal[t->count] = (struct text){text + from, length - from};
    t->field[t->count++] = FIELDS;
}

static size_t compose(char *to, enum kind kind, const struct text *values) {
    const struct template *t = &templates[kind];
    char *at = to;
    for (int i = 0; i < t->count; i++) {
        memcpy(at, t->literal[i].at, t->literal[i].length);
        at += t->literal[i].length;
        if (t->field[i] != FIELDS) {
            memcpy(at, values[t->field[i]].at, values[t->field[i]].length);
            at += values[t->field[i]].length;
        }
    }
    return (size_t)(at - to);
}

static void hex8(char *to, uint32_t value) {
    for (int i = 7; i >= 0; i--, value >>= 4) to[i] = "0123456789abcdef"[value & 15];
}

static size_t decimal(char *to, uint32_t value) {
    char digits[10];
    int n = 0;
    do digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (int i = 0; i < n; i++) to[i] = digits[n - 1 - i];
    return (size_t)n;
}

/* The address a phone believes to have, behind its NAT. */
static size_t private_host(char *to, int phone) {
    memcpy(to, "192.168.", 8);
    size_t n = 8 + decimal(to + 8, phone >> 8 & 255);
    to[n++] = '.';
    return n + decimal(to + n, phone & 255);
}

static int read_hex8(const char *at, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < 8; i++) {
        int digit = at[i] >= 'a' && at[i] <= 'f' ? at[i] - 'a' + 10 : at[i] >= '0' && at[i] <= '9' ? at[i] - '0' : -1;
        if (digit < 0) return 0;
        *value = *value << 4 | (uint32_t)digit;
    }
    return 1;
}

/* Sockets. */

static int open_socket(int port) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, size = 64 << 20, whole = IP_PMTUDISC_DO;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any)) fail("bind");
    if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on)) fail("IP_PKTINFO");
    if (setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &whole, sizeof whole)) fail("IP_MTU_DISCOVER"); /* saves the ident */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

static void wire(struct in *in, struct out *out, int port) {
    in->fd = out->fd = open_socket(port);
    for (int i = 0; i < BATCH; i++) {
        in->vectors[i] = (struct iovec){in->bytes[i], MESSAGE};
        in->headers[i].msg_hdr = (struct msghdr){.msg_name = &in->names[i], .msg_iov = &in->vectors[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < QUEUE; i++) {
        struct msghdr *header = &out->headers[i].msg_hdr;
        out->vectors[i].iov_base = out->bytes[i];
        *header = (struct msghdr){.msg_name = &out->names[i],
                                  .msg_namelen = sizeof(struct sockaddr_in),
                                  .msg_iov = &out->vectors[i],
                                  .msg_iovlen = 1,
                                  .msg_control = out->controls[i],
                                  .msg_controllen = sizeof out->controls[i]};
        struct cmsghdr *control = CMSG_FIRSTHDR(header);
        control->cmsg_level = IPPROTO_IP;
        control->cmsg_type = IP_PKTINFO;
        control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
}

static void flush(struct out *out) {
    uint64_t now = timing ? clock_ns(CLOCK_REALTIME) : 0;
    for (int i = 0; timing && i < out->count; i++)
        if (out->stamps[i]) *out->stamps[i] = now;
    for (int at = 0; at < out->count;) {
        int n = sendmmsg(out->fd, out->headers + at, (unsigned)(out->count - at), 0);
        if (n <= 0) {
            if (errno == EINTR) continue;
            n = 1; /* lost, and missed in time */
        }
        at += n;
    }
    counts.sent += (uint64_t)out->count;
    out->count = 0;
}

/* Queue one message from a source address of ours; the time it leaves goes to `stamp`. */
static void enqueue(struct out *out, enum kind kind, const struct text *values, struct sockaddr_in to, uint32_t from,
                    uint64_t *stamp) {
    if (out->count == QUEUE) flush(out);
    int i = out->count++;
    out->vectors[i].iov_len = compose(out->bytes[i], kind, values);
    out->names[i] = to;
    out->stamps[i] = stamp;
    struct in_pktinfo info = {.ipi_spec_dst.s_addr = from};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&out->headers[i].msg_hdr)), &info, sizeof info);
}

/* Reading. */

static int starts(const char *at, const char *end, const char *with, size_t length) {
    return (size_t)(end - at) >= length && !memcmp(at, with, length);
}
#define STARTS(at, end, with) starts(at, end, with, sizeof with - 1)

static void read_message(const char *at, const char *end, struct message *m) {
    memset(m, 0, sizeof *m);
    m->hops = -1;
    at = memchr(at, '\n', (size_t)(end - at));
    while (at && ++at < end && *at != '\r') {
        const char *stop = memchr(at, '\r', (size_t)(end - at));
        if (!stop) return;
#define VALUE(with) (struct text){at + sizeof with - 1, (size_t)(stop - at) - sizeof with + 1}
        switch (*at) {
        case 'V':
            if (STARTS(at, end, "Via: ") && m->via_count < 8) m->vias[m->via_count++] = VALUE("Via: ");
            break;
        case 'R':
            if (STARTS(at, end, "Route: ")) m->routes++;
            else if (STARTS(at, end, "Record-Route: ") && m->record_route_count < 8)
                m->record_routes[m->record_route_count++] = VALUE("Record-Route: ");
            break;
        case 'C':
            if (STARTS(at, end, "Call-ID: ")) m->call_id = VALUE("Call-ID: ");
            else if (STARTS(at, end, "CSeq: ")) m->cseq = VALUE("CSeq: ");
            else if (STARTS(at, end, "Contact: ")) m->contact = VALUE("Contact: ");
            break;
        case 'F':
            if (STARTS(at, end, "From: ")) m->from = VALUE("From: ");
            break;
        case 'T':
            if (STARTS(at, end, "To: ")) m->to = VALUE("To: ");
            break;
        case 'M':
            if (STARTS(at, end, "Max-Forwards: ")) m->hops = atoi(at + 14);
            break;
        case 'P':
            if (STARTS(at, end, "Path: ")) m->paths++;
            break;
        }
        at = memchr(stop, '\n', (size_t)(end - stop));
    }
}

/* The slot a Call-ID belongs to, NULL when that transaction is over or was never ours (`phone` is -1 then). */
static struct slot *find_slot(const struct message *m, int *phone) {
    uint32_t which, serial;
    *phone = -1;
    if (m->call_id.length < 16 || !read_hex8(m->call_id.at, &which) || !read_hex8(m->call_id.at + 8, &serial)) return NULL;
    if (which >= (uint32_t)phones) return NULL;
    *phone = (int)which;
    if (phone_slot[which] < 0) return NULL;
    struct slot *slot = &slots[phone_slot[which]];
    if (slot->state == REGISTERING) serial = (uint32_t)strtoul(m->cseq.at, NULL, 10);
    return slot->serial == serial ? slot : NULL;
}

static void sample(uint64_t sent, uint64_t arrived) {
    if (measuring && sent && arrived > sent && sample_count < SAMPLES) samples[sample_count++] = (uint32_t)(arrived - sent);
}

/* Phones. */

static uint32_t phone_address(int phone) { return htonl(0x7F100001u + (uint32_t)phone); }

static void say(struct slot *slot, enum kind kind, uint32_t cseq) {
    char user[16], host[24], branch[18], call[17], number[12];
    struct text values[FIELDS];
    memset(values, 0, sizeof values);
    hex8(call, (uint32_t)slot->phone);
    hex8(call + 8, slot->state == REGISTERING ? 0 : slot->serial);
    hex8(branch, (uint32_t)slot->phone);
    hex8(branch + 8, slot->serial);
    branch[16] = "r-i---ab--"[kind];
    values[USER] = (struct text){user, decimal(user, 1000000u + (uint32_t)slot->phone)};
    values[HOST] = (struct text){host, private_host(host, slot->phone)};
    values[BRANCH] = (struct text){branch, 17};
    values[CALL] = (struct text){call, 16};
    values[TAG] = (struct text){branch + 6, 10};
    values[CSEQ] = (struct text){number, decimal(number, cseq)};
    values[TO] = (struct text){slot->to, slot->to_length};
    values[TARGET] = (struct text){slot->target, slot->target_length};
    values[ROUTES] = (struct text){slot->routes, slot->routes_length};
    enqueue(&phone_out, kind, values, target, phone_address(slot->phone), &slot->sent[kind]);
}

static void release(struct slot *slot) {
    phone_slot[slot->phone] = -1;
    slot->state = FREE;
    ages[slot - slots] = 0;
    free_slots[free_count++] = (int)(slot - slots);
}

static uint64_t random_bits(void) {
    static uint64_t x = 88172645463325252ull;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

static void begin(uint64_t now) {
    if (SLOTS - free_count >= phones) {
        counts.skipped++;
        return;
    }
    for (int tries = 0; free_count && tries < phones; tries++) {
        int phone = at_random ? (int)((random_bits() >> 11) % (unsigned)phones) : next_phone;
        next_phone = next_phone + 1 == phones ? 0 : next_phone + 1;
        if (phone_slot[phone] >= 0) continue;
        struct slot *slot = &slots[free_slots[--free_count]];
        phone_slot[phone] = (int)(slot - slots);
        slot->phone = phone;
        slot->serial = ++phone_serial[phone];
        slot->begun = ages[slot - slots] = now;
        if (storming) calling = counts.begun % CALL_AMONG == 0;
        slot->state = calling ? INVITING : REGISTERING;
        slot->to_length = slot->target_length = slot->routes_length = 0;
        memset(slot->sent, 0, sizeof slot->sent);
        counts.begun++;
        counts.calls_begun += (uint64_t)calling;
        if (calling) say(slot, INVITE, 20);
        else say(slot, REGISTER, slot->serial);
        return;
    }
    counts.skipped++;
}

/* Remember the dialog a 200 to INVITE makes: remote tag, remote target, Route set (RFC 3261 12.1.2). */
static int learn_dialog(struct slot *slot, const struct message *m) {
    const char *open = memchr(m->contact.at, '<', m->contact.length);
    const char *close = open ? memchr(open, '>', m->contact.length - (size_t)(open - m->contact.at)) : NULL;
    if (!close || m->to.length > sizeof slot->to || (size_t)(close - open) > sizeof slot->target) return 0;
    slot->target_length = (size_t)(close - open - 1);
    memcpy(slot->target, open + 1, slot->target_length);
    slot->to_length = m->to.length;
    memcpy(slot->to, m->to.at, m->to.length);
    for (int i = m->record_route_count - 1; i >= 0; i--) {
        if (slot->routes_length + m->record_routes[i].length + 9 > sizeof slot->routes) return 0;
        slot->routes_length += (size_t)sprintf(slot->routes + slot->routes_length, "Route: %.*s\r\n",
                                               (int)m->record_routes[i].length, m->record_routes[i].at);
    }
    return 1;
}

/* Whether the answer came home: one Via, of this phone and this request. */
static int is_mine(const struct slot *slot, const struct message *m, enum kind asked) {
    char via[64] = "SIP/2.0/UDP ", branch[18];
    size_t n = 12 + private_host(via + 12, slot->phone);
    memcpy(via + n, ":5060;", 6);
    n += 6;
    hex8(branch, (uint32_t)slot->phone);
    hex8(branch + 8, slot->serial);
    branch[16] = "r-i---ab--"[asked];
    return m->via_count == 1 && m->vias[0].length > n && !memcmp(m->vias[0].at, via, n) &&
           memmem(m->vias[0].at, m->vias[0].length, branch, 17);
}

static void answered(const char *bytes, size_t length, uint32_t to, uint64_t arrived, uint64_t now) {
    struct message m;
    int phone;
    if (length < 16 || memcmp(bytes, "SIP/2.0 ", 8)) return wrong("not a response", bytes, length);
    read_message(bytes, bytes + length, &m);
    int status = atoi(bytes + 8);
    struct slot *slot = find_slot(&m, &phone);
    if (phone < 0 || to != phone_address(phone)) return wrong("another phone's answer", bytes, length);
    if (!slot) {
        counts.repeats++;
        return;
    }
    const char *method = m.cseq.at ? memchr(m.cseq.at, ' ', m.cseq.length) : NULL;
    enum kind asked = !method ? KINDS : method[1] == 'R' ? REGISTER : method[1] == 'I' ? INVITE : method[1] == 'B' ? BYE : KINDS;
    if (asked == KINDS || !is_mine(slot, &m, asked)) return wrong("another request's answer", bytes, length);
    if (status == 100) {
        sample(slot->sent[TRYING], memmem(bytes, length, "Asterisk", 8) ? arrived : 0);
    } else if (status < 200) {
        sample(slot->sent[RINGING], arrived);
    } else if (status != 200) {
        wrong("refused", bytes, length);
        release(slot);
    } else if (asked == REGISTER && slot->state == REGISTERING) {
        sample(slot->sent[REGISTER_200], arrived);
        counts.completed++;
        release(slot);
    } else if (asked == INVITE && slot->state == INVITING) {
        sample(slot->sent[INVITE_200], arrived);
        if (!learn_dialog(slot, &m)) {
            wrong("no dialog", bytes, length);
            return release(slot);
        }
        slot->state = ENDING;
        slot->begun = ages[slot - slots] = now;
        say(slot, ACK, 20);
        say(slot, BYE, 21);
        counts.calls++;
    } else if (asked == BYE && slot->state == ENDING) {
        sample(slot->sent[BYE_200], arrived);
        counts.completed++;
        counts.calls_completed++;
        release(slot);
    } else {
        counts.repeats++;
    }
}

/* Servers. */

static struct text joined(char *room, const char *name, const struct text *values, int count) {
    size_t at = 0, n = strlen(name);
    for (int i = 0; i < count; i++) {
        memcpy(room + at, name, n);
        memcpy(room + at + n, values[i].at, values[i].length);
        memcpy(room + at + n + values[i].length, "\r\n", 2);
        at += n + values[i].length + 2;
    }
    return (struct text){room, at};
}

/* What the program under test must have done to a request; NULL when it has. */
static const char *fault(enum kind kind, const struct message *m, const struct slot *slot, int server) {
    if (m->via_count != 1 + hops) return "number of Vias at the server";
    if (hops && m->hops != 69) return "Max-Forwards at the server";
    if (hops && kind == REGISTER && !m->paths) return "no Path at the server";
    if (hops && kind == INVITE && !m->record_route_count) return "no Record-Route at the server";
    if ((kind == ACK || kind == BYE) && m->routes) return "a Route left at the server";
    if ((kind == ACK || kind == BYE) && slot && slot->server != server) return "a call's request at another server";
    return NULL;
}

static void asked(const char *bytes, size_t length, struct sockaddr_in from, uint32_t at, uint64_t arrived) {
    static char vias[MESSAGE], record_routes[MESSAGE];
    struct message m;
    struct text values[FIELDS];
    int phone, server = (int)(ntohl(at) & 0xFFFF);
    char branch[18], address[32];
    if (length < 16) return wrong("not a request", bytes, length);
    enum kind kind = bytes[0] == 'R'   ? REGISTER
                     : bytes[0] == 'I' ? INVITE
                     : bytes[0] == 'A' ? ACK
                     : bytes[0] == 'B' ? BYE
                     : bytes[0] == 'O' ? OPTIONS_200
                                       : KINDS;
    if (kind == KINDS) return wrong("not a request", bytes, length);
    read_message(bytes, bytes + length, &m);
    struct slot *slot = kind == OPTIONS_200 ? NULL : find_slot(&m, &phone);
    if (kind != OPTIONS_200) {
        const char *what = phone < 0 ? "Call-ID at the server" : fault(kind, &m, slot, server);
        if (what) wrong(what, bytes, length);
        if (slot) sample(slot->sent[kind], arrived);
        if (slot && kind == INVITE) slot->server = server;
    }
    if (kind == ACK) {
        counts.acks++;
        return;
    }
    memset(values, 0, sizeof values);
    memcpy(branch, m.call_id.at, m.call_id.length < 16 ? m.call_id.length : 16);
    values[BRANCH] = (struct text){branch, m.call_id.length < 16 ? m.call_id.length : 16};
    values[VIAS] = joined(vias, "Via: ", m.vias, m.via_count);
    values[RECORD_ROUTES] = joined(record_routes, "Record-Route: ", m.record_routes, m.record_route_count);
    values[FROM] = m.from;
    values[TO] = m.to;
    values[CALL_ID] = m.call_id;
    values[CONTACT] = m.contact;
    const char *space = m.cseq.at ? memchr(m.cseq.at, ' ', m.cseq.length) : NULL;
    values[CSEQ] = (struct text){m.cseq.at, space ? (size_t)(space - m.cseq.at) : 0};
    values[SERVER] = (struct text){address, (size_t)sprintf(address, "127.0.%d.%d:%d", server >> 8, server & 255, SERVER_PORT)};
    uint64_t *stamps = slot ? slot->sent : NULL;
#define ANSWER(k) enqueue(&server_out, k, values, from, at, stamps ? &stamps[k] : NULL)
    if (kind == OPTIONS_200) ANSWER(OPTIONS_200);
    else if (kind == REGISTER) ANSWER(REGISTER_200);
    else if (kind == BYE) ANSWER(BYE_200);
    else {
        ANSWER(TRYING);
        ANSWER(RINGING);
        ANSWER(INVITE_200);
    }
}

/* One batch of a socket; how many datagrams came. */
static int receive(struct in *in, int is_phone, uint64_t now) {
    for (int i = 0; i < BATCH; i++) {
        in->headers[i].msg_hdr.msg_namelen = sizeof in->names[i];
        in->headers[i].msg_hdr.msg_control = in->controls[i];
        in->headers[i].msg_hdr.msg_controllen = sizeof in->controls[i];
    }
    int count = recvmmsg(in->fd, in->headers, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &in->headers[i].msg_hdr;
        uint32_t to = 0;
        uint64_t arrived = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                to = ((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr.s_addr;
            } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
                struct timespec t;
                memcpy(&t, CMSG_DATA(c), sizeof t);
                arrived = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
            }
        }
        size_t length = in->headers[i].msg_len;
        if (is_phone) answered(in->bytes[i], length, to, arrived, now);
        else asked(in->bytes[i], length, in->names[i], to, arrived);
        counts.bytes += length;
    }
    if (count > 0) counts.received += (uint64_t)count;
    return count > 0 ? count : 0;
}

/* What the machine did. */

#define PROCESSES 4096

struct meter {
    uint64_t wall, put, own; /* ns of CPU: the program under test, this one */
    int count;               /* and every process there is */
    pid_t pids[PROCESSES];
    uint64_t cpu[PROCESSES];
};

static uint64_t cpu_of(pid_t pid) { return clock_ns((clockid_t)(~(unsigned)pid << 3 | 2)); }

/* /proc/stat counts ticks, and a CPU that naps is asleep at most of them: so each process is asked for its own clock. */
static void read_meter(struct meter *meter, const pid_t *pids, int pid_count) {
    DIR *processes = opendir("/proc");
    meter->count = 0;
    for (struct dirent *entry; processes && (entry = readdir(processes)) && meter->count < PROCESSES;) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
        meter->pids[meter->count] = (pid_t)atoi(entry->d_name);
        meter->cpu[meter->count] = cpu_of(meter->pids[meter->count]);
        meter->count++;
    }
    if (processes) closedir(processes);
    meter->put = 0;
    for (int i = 0; i < pid_count; i++) meter->put += cpu_of(pids[i]);
    meter->own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    meter->wall = clock_ns(CLOCK_MONOTONIC);
}

/* CPU of all processes between two readings; what came and went in between is missed. */
static uint64_t cpu_of_all(const struct meter *a, const struct meter *b) {
    uint64_t sum = 0;
    for (int i = 0, j = 0; j < b->count; j++) {
        while (i < a->count && a->pids[i] < b->pids[j]) i++; /* /proc is in order */
        sum += b->cpu[j] - (i < a->count && a->pids[i] == b->pids[j] ? a->cpu[i] : 0);
    }
    return sum;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q) { return sample_count ? samples[(size_t)(q * (double)(sample_count - 1))] / 1e3 : 0; }

static void report(const struct counts *from, const struct counts *to, const struct meter *a, const struct meter *b) {
    qsort(samples, sample_count, sizeof *samples, by_value);
    uint64_t received = to->received - from->received;
    printf("{\"seconds\": %.4f, \"completed\": %lu, \"messages\": %lu, \"bytes\": %lu, \"put_cpu\": %.6f, \"own_cpu\": %.6f, ",
           (double)(b->wall - a->wall) / 1e9, to->completed - from->completed, received,
           received ? (to->bytes - from->bytes) / received : 0, (double)(b->put - a->put) / 1e9,
           (double)(b->own - a->own) / 1e9);
    printf("\"begun\": %lu, \"calls_begun\": %lu, \"calls_completed\": %lu, \"calls_lost\": %lu, \"recovery\": %.4f, ",
           to->begun - from->begun, to->calls_begun - from->calls_begun, to->calls_completed - from->calls_completed,
           counts.calls_lost, last_lost ? (double)(last_lost - calm) / 1e9 : 0);
    printf("\"all_cpu\": %.6f, ", (double)cpu_of_all(a, b) / 1e9);
    printf("\"lost\": %lu, \"wrong\": %lu, \"repeats\": %lu, \"missing_acks\": %ld, \"skipped\": %lu, ", counts.lost,
           counts.wrong, counts.repeats, (long)(counts.calls - counts.acks), counts.skipped);
    printf("\"samples\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"first_wrong\": \"%s\"}\n", sample_count,
           quantile(0.5), quantile(0.99), quantile(1.0), first_wrong);
    fflush(stdout);
}

/* The loop. */

static uint64_t gap(double rate) { /* ns to the next arrival of a Poisson stream */
    return (uint64_t)(-log(((double)(random_bits() >> 11) + 1) / 9007199254740993.0) / rate * 1e9);
}

static void rest(int blocking, int busy, uint64_t until) {
    if (blocking) {
        struct pollfd both[3] = {{phone_in.fd, POLLIN, 0}, {server_in.fd, POLLIN, 0}, {0, POLLIN, 0}};
        poll(both, busy ? 2 : 3, 10);
        return;
    }
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (until <= now) return;
    uint64_t nap = until - now < longest_nap ? until - now : longest_nap;
    struct timespec t = {0, (long)nap};
    nanosleep(&t, NULL);
}

static void give_up(uint64_t now, uint64_t after) {
    for (int i = 0; i < SLOTS; i++)
        if (ages[i] && now - ages[i] > after) {
            counts.lost++;
            counts.calls_lost += slots[i].state != REGISTERING;
            if (calm && slots[i].begun > calm && slots[i].begun > last_lost) last_lost = slots[i].begun;
            release(&slots[i]);
        }
}

static void run(int open_loop, int step, double size, int blocking, double warm, double seconds, const pid_t *pids, int pid_count) {
    static struct meter at_start, at_end;
    at_start.wall = at_end.wall = 0;
    struct counts from = {0}, to = {0};
    uint64_t now = clock_ns(CLOCK_MONOTONIC), next = now, checked = now;
    uint64_t start = now + (uint64_t)(warm * 1e9), end = start + (uint64_t)(seconds * 1e9);
    uint64_t stop = step ? end + AFTERMATH : end, last = stop + patience;
    calm = last_lost = 0;
    memset(&counts, 0, sizeof counts);
    sample_count = 0;
    first_wrong[0] = 0;
    longest_nap = !open_loop && size >= MANY ? LONG_NAP : NAP;
    timing = open_loop;
    setsockopt(phone_in.fd, SOL_SOCKET, SO_TIMESTAMPNS, &timing, sizeof timing);
    setsockopt(server_in.fd, SOL_SOCKET, SO_TIMESTAMPNS, &timing, sizeof timing);
    for (;;) {
        int came = receive(&server_in, 0, now);
        came += receive(&phone_in, 1, now);
        now = clock_ns(CLOCK_MONOTONIC);
        if (!measuring && !at_start.wall && now >= start) {
            read_meter(&at_start, pids, pid_count);
            from = counts;
            measuring = 1;
        } else if (measuring && now >= end) {
            read_meter(&at_end, pids, pid_count);
            to = counts;
            measuring = 0;
            if (step) calm = now, size /= 6;
        }
        if (now < stop && open_loop)
            for (; next <= now; next += gap(size)) begin(now);
        else if (now < stop)
            while (SLOTS - free_count < (int)size) begin(now);
        flush(&server_out);
        flush(&phone_out);
        if (now - checked > SECOND / 10) {
            give_up(now, patience);
            checked = now;
        }
        if (at_end.wall && now >= stop && (free_count == SLOTS || now > last)) break;
        if (!came) rest(blocking, 1, open_loop && now < stop ? next : now + longest_nap);
    }
    for (uint64_t until = now + SECOND / 5; now < until; now = clock_ns(CLOCK_MONOTONIC)) { /* last ACKs, late copies */
        receive(&server_in, 0, now), receive(&phone_in, 1, now);
        flush(&server_out), flush(&phone_out);
        rest(0, 1, now + NAP);
    }
    give_up(now, 0);
    report(&from, &to, &at_start, &at_end);
}

/* `count` phones from `first` on register, once each. */
static void register_all(int size, int first, int count) {
    uint64_t now = clock_ns(CLOCK_MONOTONIC), began = now, checked = now;
    memset(&counts, 0, sizeof counts);
    first_wrong[0] = 0;
    calling = storming = 0;
    next_phone = first;
    int random_before = at_random;
    at_random = 0;
    longest_nap = LONG_NAP;
    while (counts.begun < (uint64_t)count || free_count < SLOTS) {
        int came = receive(&server_in, 0, now);
        came += receive(&phone_in, 1, now);
        now = clock_ns(CLOCK_MONOTONIC);
        while (counts.begun < (uint64_t)count && SLOTS - free_count < size) begin(now);
        flush(&server_out), flush(&phone_out);
        if (now - checked > SECOND / 10) give_up(now, patience), checked = now;
        if (!came) rest(0, 1, now + longest_nap);
    }
    at_random = random_before;
    printf("{\"seconds\": %.3f, \"completed\": %lu, \"lost\": %lu, \"wrong\": %lu, \"first_wrong\": \"%s\"}\n",
           (double)(now - began) / 1e9, counts.completed, counts.lost, counts.wrong, first_wrong);
    fflush(stdout);
}

static int command(char *line) {
    int first, many, at_once;
    if (sscanf(line, "all %d %d %d", &at_once, &first, &many) == 3) return register_all(at_once, first, many), 1;
    if (!strncmp(line, "order ", 6)) return at_random = !strncmp(line + 6, "random", 6), 1;
    char mix[16], loop[16], wait[16], list[1024];
    double size, warm, seconds;
    pid_t pids[64];
    int count = 0;
    if (sscanf(line, "run %15s %15s %lf %15s %lf %lf %1023s", mix, loop, &size, wait, &warm, &seconds, list) != 7) return 0;
    for (char *at = strtok(list, ","); at && count < 64; at = strtok(NULL, ",")) pids[count++] = atoi(at);
    calling = !strcmp(mix, "call");
    storming = !strcmp(mix, "storm");
    int step = !strcmp(loop, "step");
    run(step || !strcmp(loop, "open"), step, size, !strcmp(wait, "block"), warm, seconds, pids, count);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: load MESSAGES TARGET_PORT PHONES HOPS [PATIENCE]\n");
        return 2;
    }
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    phones = atoi(argv[3]), hops = atoi(argv[4]);
    if (argc == 6) patience = (uint64_t)(atof(argv[5]) * 1e9);
    for (int k = 0; k < KINDS; k++) read_template(argv[1], (enum kind)k);
    phone_slot = malloc(sizeof *phone_slot * (size_t)phones);
    phone_serial = calloc((size_t)phones, sizeof *phone_serial);
    samples = malloc(sizeof *samples * SAMPLES);
    for (int i = 0; i < phones; i++) phone_slot[i] = -1;
    for (int i = 0; i < SLOTS; i++) free_slots[free_count++] = i;
    wire(&phone_in, &phone_out, PHONE_PORT);
    wire(&server_in, &server_out, SERVER_PORT);
    prctl(PR_SET_TIMERSLACK, 1);
    printf("{\"ready\": true}\n");
    fflush(stdout);
    for (;;) { /* between runs: probes are answered, late copies read and forgotten */
        struct pollfd input = {0, POLLIN, 0};
        char line[2048];
        receive(&server_in, 0, 0);
        receive(&phone_in, 1, 0);
        flush(&server_out);
        flush(&phone_out);
        if (poll(&input, 1, 0) > 0) {
            ssize_t n = 0;
            do {
                if (read(0, line + n, 1) != 1) return 0;
            } while (line[n++] != '\n' && n < (ssize_t)sizeof line - 1);
            line[n] = 0;
            if (!command(line)) return 0;
        }
        rest(1, 0, 0);
    }
}
