/* Counts how many bytes of payloads are copied in a program that is started with this in LD_PRELOAD, by memcpy, by
   memmove and by realloc where it moves what it enlarges, and says so on standard error when the program ends.
   Payloads are made of one letter, and masked with a key of one letter: whatever runs of either are copied, nothing
   else that a program moves about looks like that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

static const char PLAIN = 'x', MASKED = 'x' ^ 0x11;
/* Shorter runs are words. */
static const size_t RUN = 8;

static unsigned long long copied;

static void count(const char *from, size_t size) {
  size_t run = 0, payload = 0;
  for (size_t at = 0; at <= size; at++) {
    if (at < size && (from[at] == PLAIN || from[at] == MASKED) && (!run || from[at] == from[at - 1])) {
      run++;
    } else {
      payload += run >= RUN ? run : 0;
      run = 0;
    }
  }
  if (payload) __atomic_add_fetch(&copied, payload, __ATOMIC_RELAXED);
}

static void *copy(char *to, const char *from, size_t size) {
  count(from, size);
  if (to <= from || to >= from + size) {
    for (size_t at = 0; at < size; at++) to[at] = from[at];
  } else {
    for (size_t at = size; at > 0; at--) to[at - 1] = from[at - 1];
  }
  return to;
}

void *memcpy(void *to, const void *from, size_t size) { return copy(to, from, size); }
void *memmove(void *to, const void *from, size_t size) { return copy(to, from, size); }

/* Looks at a block after it was moved, where it is now; some bytes at its end may be what an older block has left. Blocks that
   have pages of their own (a bit beside their size, in glibc) are moved by the page table, and not counted. */
void *realloc(void *old, size_t size) {
  static void *(*real)(void *, size_t);
  if (!real) real = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
  size_t before = old ? malloc_usable_size(old) : 0;
  int has_pages = old && (((size_t *)old)[-1] & 2);
  uintptr_t place = (uintptr_t)old;
  void *new = real(old, size);
  if (new && place && (uintptr_t)new != place && !has_pages) count(new, before < size ? before : size);
  return new;
}

__attribute__((destructor)) static void say(void) { fprintf(stderr, "copied %llu bytes of payloads\n", copied); }
