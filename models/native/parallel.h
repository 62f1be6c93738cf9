// Independent tasks on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

constexpr int64_t SMALL_WORK = 1 << 15;  // elements below which starting a thread costs more than it brings

// Tasks are independent: whoever is free takes the next. Results do not depend on who does what.
inline void in_parallel(int64_t tasks, int64_t elements, int64_t threads, const std::function<void(int64_t)>& run) {
    threads = std::min(threads, tasks);
    if (threads <= 1 || elements < SMALL_WORK) {
        for (int64_t i = 0; i < tasks; ++i) run(i);
        return;
    }
    std::atomic<int64_t> next{0};
    auto work = [&] { for (int64_t i; (i = next++) < tasks;) run(i); };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
    work();
    for (auto& thread : others) thread.join();
}
