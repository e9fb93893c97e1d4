/* A CI service with one rule, kept exactly: at most CALLS accepted POSTs in any PERIOD, wherever it begins.
 *
 *     window CALLS PERIOD LATENCY        (seconds)
 *
 * Listens on a free loopback port and prints it. Each POST is counted at an instant between its arrival and its
 * answer, drawn anew for each (a fixed sequence), and answered LATENCY after it arrived: 202 with Travis' receipt, which
 * echoes what was asked, or 429 when the window is full. `GET /user` names who asks, `GET /stats` tells what was
 * counted, and no repository has requests; every other GET is a 404.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 1024, REQUEST = 65536, ECHOED = 512, MOST = 1 << 21 };

typedef struct {
  char in[REQUEST];
  size_t used;
  double count_at, answer_at; /* 0: nothing is under way */
  int status, is_counted;
  char repo[ECHOED], branch[ECHOED], message[ECHOED];
} client;

static client *clients[CLIENTS];
static double stamps[MOST]; /* of accepted POSTs, oldest first */
static double asked[MOST];  /* of all POSTs */
static long accepted, posts, refused, worst, oldest, oldest_asked;
static long limit;
static double period, latency;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static double draw(void) { /* 0 to 1 */
  static unsigned long long state = 88172645463325252ULL;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return (state >> 11) / 9007199254740992.0;
}

static void count(client *c, double at) {
  c->is_counted = 1;
  if (posts == MOST) exit(3);
  asked[posts++] = at;
  while (asked[oldest_asked] <= at - period) oldest_asked++;
  if (posts - oldest_asked > worst) worst = posts - oldest_asked;
  while (oldest < accepted && stamps[oldest] <= at - period) oldest++;
  if (accepted - oldest >= limit) {
    refused++;
    c->status = 429;
  } else {
    stamps[accepted++] = at;
    c->status = 202;
  }
}

static void say(int fd, int status, const char *body, size_t length) {
  char head[256];
  int n = snprintf(head, sizeof head,
                   "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, length);
  char *all = malloc(n + length);
  memcpy(all, head, n);
  memcpy(all + n, body, length);
  for (size_t done = 0, size = n + length; done < size;) {
    ssize_t wrote = send(fd, all + done, size - done, MSG_NOSIGNAL);
    if (wrote < 0 && errno != EAGAIN && errno != EINTR) break;
    if (wrote > 0) done += wrote;
  }
  free(all);
}

static void say_stats(int fd) {
  size_t size = 256 + 24 * (size_t)accepted, n = 0;
  char *body = malloc(size);
  n += snprintf(body, size, "{\"accepted\": %ld, \"refused\": %ld, \"worst\": %ld, \"first\": %.6f, \"stamps\": [",
                accepted, refused, worst, posts ? asked[0] : 0.0);
  for (long i = 0; i < accepted; i++) n += snprintf(body + n, size - n, i ? ",%.6f" : "%.6f", stamps[i]);
  n += snprintf(body + n, size - n, "]}");
  say(fd, 200, body, n);
  free(body);
}

static void answer(int fd, client *c) {
  char body[4 * ECHOED];
  int n = c->status == 202
              ? snprintf(body, sizeof body,
                         "{\"@type\": \"pending\", \"repository\": {\"id\": 4711, \"slug\": \"%s\"}, "
                         "\"request\": {\"id\": %ld, \"branch\": \"%s\", \"message\": \"%s\"}, "
                         "\"resource_type\": \"request\"}",
                         c->repo, posts, c->branch, c->message)
              : snprintf(body, sizeof body,
                         "{\"@type\": \"error\", \"error_type\": \"request_limit_reached\", "
                         "\"error_message\": \"request limit reached for resource\"}");
  say(fd, c->status, body, n);
  c->answer_at = 0;
}

/* Copies what stands behind `before`, and a colon and a quote if it is a key, up to the quote or the end of a path. */
static void echo(char *to, char *text, const char *before) {
  char *from = strstr(text, before);
  size_t n = from ? strspn(from += strlen(before), ": \"") : 0;
  from = from ? from + n : "";
  n = strcspn(from, "\"/ ");
  if (strchr(before, '"')) n = strcspn(from, "\"");
  if (n >= ECHOED) exit(4);
  memcpy(to, from, n);
  to[n] = 0;
  for (char *slash = strstr(to, "%2F"); slash; slash = NULL) {
    *slash = '/';
    memmove(slash + 1, slash + 3, strlen(slash + 3) + 1);
  }
}

/* Takes one whole request out of what has come; 0 when there is none. */
static int take(int fd, client *c) {
  char *end = memmem(c->in, c->used, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = end + 4 - c->in, body = 0;
  *end = 0;
  char *length = strcasestr(c->in, "content-length:");
  if (length) body = strtoul(length + 15, NULL, 10);
  *end = '\r';
  if (c->used < head + body) return 0;
  if (!strncmp(c->in, "POST ", 5)) {
    double at = now();
    c->count_at = at + latency * draw();
    c->answer_at = at + latency;
    c->is_counted = 0;
    char next = c->in[head + body];
    c->in[head + body] = 0;
    echo(c->repo, c->in, "/repo/");
    echo(c->branch, end, "\"branch\"");
    echo(c->message, end, "\"message\"");
    c->in[head + body] = next;
  } else if (!strncmp(c->in, "GET /stats", 10)) {
    say_stats(fd);
  } else if (!strncmp(c->in, "GET /user ", 10)) {
    const char *user = "{\"@type\": \"user\", \"id\": 77, \"login\": \"me\"}";
    say(fd, 200, user, strlen(user));
  } else if (strstr(c->in, "/requests?") && strstr(c->in, "/requests?") < end) {
    const char *empty = "{\"@type\": \"requests\", \"requests\": [], \"@pagination\": {\"limit\": 100, \"is_last\": true}}";
    say(fd, 200, empty, strlen(empty));
  } else {
    const char *none = "{\"@type\": \"error\", \"error_type\": \"not_found\", \"error_message\": \"not found\"}";
    say(fd, 404, none, strlen(none));
  }
  memmove(c->in, c->in + head + body, c->used -= head + body);
  return 1;
}

static void receive(int fd, client *c) {
  ssize_t got = recv(fd, c->in + c->used, REQUEST - 1 - c->used, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    close(fd);
    free(c);
    clients[fd] = NULL;
    return;
  }
  c->used += got;
  while (!c->answer_at && take(fd, c)) {}
}

/* Does what is due; returns seconds until something is, or -1. Calls are counted in the order of their instants. */
static double work(void) {
  for (;;) {
    double next = 0, at = now();
    int first = -1;
    for (int fd = 0; fd < CLIENTS; fd++) {
      client *c = clients[fd];
      if (!c || !c->answer_at) continue;
      double due = c->is_counted ? c->answer_at : c->count_at;
      if (first < 0 || due < next) first = fd, next = due;
    }
    if (first < 0) return -1;
    if (next > at) return next - at;
    client *c = clients[first];
    if (!c->is_counted) {
      count(c, c->count_at);
    } else {
      answer(first, c);
      while (!c->answer_at && take(first, c)) {}
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  limit = atol(argv[1]), period = atof(argv[2]), latency = atof(argv[3]);
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof here;
  if (bind(listener, (struct sockaddr *)&here, length) || listen(listener, 512)) return 1;
  getsockname(listener, (struct sockaddr *)&here, &length);
  printf("%d\n", ntohs(here.sin_port));
  fflush(stdout);
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    double wait = work();
    struct timespec left = {(time_t)wait, (long)((wait - (time_t)wait) * 1e9)};
    int n = epoll_pwait2(poll, events, 256, wait < 0 ? NULL : &left, NULL);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        if (clients[fd]) receive(fd, clients[fd]);
        continue;
      }
      int one = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
      if (one < 0) continue;
      if (one >= CLIENTS) {
        close(one);
        continue;
      }
      setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      clients[one] = calloc(1, sizeof(client));
      event = (struct epoll_event){.events = EPOLLIN, .data.fd = one};
      epoll_ctl(poll, EPOLL_CTL_ADD, one, &event);
    }
  }
}
