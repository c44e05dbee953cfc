// What the sanitizers must see, or ci/native trusts nothing that they say. Two threads call each.

#include <atomic>
#include <cstdint>
#include <cstdlib>

extern "C" {

int64_t past_the_end() {
    char *volatile bytes = (char *)malloc(8);  // of a size that the compiler forgets
    return bytes[8];
}

int64_t undefined() {
    volatile int64_t most = INT64_MAX;
    return most + 1;
}

int64_t race() {
    static std::atomic<int> arrived{0};
    static volatile int64_t counter;
    ++arrived;
    while (arrived < 2) {  // or one might be done before the other begins
    }
    for (int i = 0; i < 1000; ++i) counter = counter + 1;  // two at the very same time go unseen
    return counter;
}

}
