/* Counts the bytes that memcpy and memmove copy in a program that is started with this in LD_PRELOAD, and says so on
   standard error when it ends. Copies of less than 256 bytes are not counted: they are heads and books, and what a build
   without optimisation moves about; payloads are chosen larger. */
#include <stddef.h>
#include <stdio.h>

static unsigned long long copied;

static void *copy(char *to, const char *from, size_t count) {
  if (count >= 256) __atomic_add_fetch(&copied, count, __ATOMIC_RELAXED);
  void *start = to;
  if (to <= from || to >= from + count) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  } else {
    to += count - 1;
    from += count - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  }
  return start;
}

void *memcpy(void *to, const void *from, size_t count) { return copy(to, from, count); }
void *memmove(void *to, const void *from, size_t count) { return copy(to, from, count); }

__attribute__((destructor)) static void say(void) { fprintf(stderr, "copied %llu bytes\n", copied); }
