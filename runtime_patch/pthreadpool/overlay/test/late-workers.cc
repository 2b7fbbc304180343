#include <gtest/gtest.h>

#include <pthreadpool.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>


typedef std::unique_ptr<pthreadpool, decltype(&pthreadpool_destroy)> auto_pthreadpool_t;

const size_t kThreads = 4;
const size_t kItems = 1000;

typedef std::array<std::atomic<int>, kItems> Counts;

static void Count(Counts* counts, size_t i) {
	(*counts)[i].fetch_add(1, std::memory_order_relaxed);
}

/* Every item is computed once, whoever comes. */
static void RunOnce(pthreadpool_t threadpool, uint32_t flags = 0) {
	Counts counts{};
	pthreadpool_parallelize_1d(threadpool, reinterpret_cast<pthreadpool_task_1d_t>(Count), &counts, kItems, flags);
	for (const auto& count : counts) {
		ASSERT_EQ(count.load(std::memory_order_relaxed), 1);
	}
}

/* Threads of the pool that took an item each: they wait for one another. */
struct Muster {
	std::atomic<size_t> present{0};
	std::array<pthread_t, kThreads> threads;
};

static void Assemble(Muster* muster, size_t) {
	muster->threads[muster->present.fetch_add(1)] = pthread_self();
	while (muster->present.load() != kThreads) {
		std::this_thread::yield();
	}
}

/* The caller and the worker of a pool of two. */
struct Pair {
	std::atomic<int> present{0};
	const pthread_t caller = pthread_self();
	pthread_t worker;
};

static void Meet(Pair* pair, size_t) {
	if (!pthread_equal(pthread_self(), pair->caller)) {
		pair->worker = pthread_self();
	}
	pair->present.fetch_add(1);
	while (pair->present.load() != 2) {
		std::this_thread::yield();
	}
}

static sem_t held, release;

static void Hold(int) {
	sem_post(&held);
	while (sem_wait(&release) != 0) {
	}
}

TEST(LateWorkers, AreNotWaitedFor) {
	auto_pthreadpool_t threadpool(pthreadpool_create(kThreads), pthreadpool_destroy);
	ASSERT_TRUE(threadpool.get());
	Muster muster;
	pthreadpool_parallelize_1d(threadpool.get(), reinterpret_cast<pthreadpool_task_1d_t>(Assemble), &muster, kThreads,
							   0 /* flags */);

	/* What the system does to a thread without a core, a signal's handler does here. */
	ASSERT_EQ(sem_init(&held, 0, 0), 0);
	ASSERT_EQ(sem_init(&release, 0, 0), 0);
	struct sigaction action {};
	action.sa_handler = Hold;
	ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
	for (pthread_t thread : muster.threads) {
		if (!pthread_equal(thread, pthread_self())) {
			ASSERT_EQ(pthread_kill(thread, SIGUSR1), 0);
			while (sem_wait(&held) != 0) {
			}
		}
	}
	for (int i = 0; i < 100; i++) {
		RunOnce(threadpool.get());
	}
	for (size_t i = 1; i < kThreads; i++) {
		sem_post(&release);
	}
	for (int i = 0; i < 100; i++) {
		RunOnce(threadpool.get());
	}
}

TEST(LateWorkers, ComeBackFromSleep) {
	auto_pthreadpool_t threadpool(pthreadpool_create(kThreads), pthreadpool_destroy);
	ASSERT_TRUE(threadpool.get());
	for (int i = 0; i < 20; i++) {
		RunOnce(threadpool.get(), i % 2 ? PTHREADPOOL_FLAG_YIELD_WORKERS : 0);
		usleep(1000);
		/* Ends only if all of them come. */
		Muster muster;
		pthreadpool_parallelize_1d(threadpool.get(), reinterpret_cast<pthreadpool_task_1d_t>(Assemble), &muster,
								   kThreads, 0 /* flags */);
	}
}

#if defined(__linux__)
TEST(LateWorkers, MayUseAllProcessorsAfterTheyLeftTheCallers) {
	cpu_set_t all;
	ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) < 2) {
		GTEST_SKIP() << "there is one processor";
	}
	auto_pthreadpool_t threadpool(pthreadpool_create(2), pthreadpool_destroy);
	ASSERT_TRUE(threadpool.get());
	Pair pair;
	const auto meet = reinterpret_cast<pthreadpool_task_1d_t>(Meet);
	pthreadpool_parallelize_1d(threadpool.get(), meet, &pair, 2, 0 /* flags */);

	for (int i = 0; i < 20; i++) {
		/* Where the worker slept, the caller is now. */
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(sched_getcpu(), &one);
		ASSERT_EQ(pthread_setaffinity_np(pair.worker, sizeof(one), &one), 0);
		ASSERT_EQ(pthread_setaffinity_np(pair.worker, sizeof(all), &all), 0);
		pair.present.store(0);
		pthreadpool_parallelize_1d(threadpool.get(), meet, &pair, 2, 0 /* flags */);
		cpu_set_t now;
		do { /* does not end if one of them is lost */
			ASSERT_EQ(pthread_getaffinity_np(pair.worker, sizeof(now), &now), 0);
		} while (!CPU_EQUAL(&now, &all));
	}
}
#endif

TEST(LateWorkers, OutnumberItems) {
	auto_pthreadpool_t threadpool(pthreadpool_create(64), pthreadpool_destroy);
	ASSERT_TRUE(threadpool.get());
	for (int i = 0; i < 70000; i++) { /* more than an operation's number has room for */
		std::atomic<int> count{0};
		auto add = [](std::atomic<int>* sum, size_t) { sum->fetch_add(1); };
		pthreadpool_parallelize_1d(
			threadpool.get(),
			reinterpret_cast<pthreadpool_task_1d_t>(static_cast<void (*)(std::atomic<int>*, size_t)>(add)), &count, 2,
			0 /* flags */);
		ASSERT_EQ(count.load(), 2);
	}
}

TEST(LateWorkers, AreNotInAForkedChild) {
	auto_pthreadpool_t threadpool(pthreadpool_create(kThreads), pthreadpool_destroy);
	ASSERT_TRUE(threadpool.get());
	RunOnce(threadpool.get());
	const pid_t child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		alarm(60);
		RunOnce(threadpool.get());
		threadpool.reset();
		_exit(testing::Test::HasFailure() ? 1 : 0);
	}
	int status = -1;
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	RunOnce(threadpool.get());
}

TEST(LateWorkers, MayNotBeThereAtAll) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	GTEST_SKIP() << "sanitizers need the address space that this test takes away";
#endif
	const pid_t child = fork();
	ASSERT_GE(child, 0);
	if (child == 0) {
		alarm(60);
		/* No room for the stacks of so many. */
		const struct rlimit limit = {512u << 20, 512u << 20};
		if (setrlimit(RLIMIT_AS, &limit) != 0) {
			_exit(2);
		}
		{
			auto_pthreadpool_t threadpool(pthreadpool_create(1000), pthreadpool_destroy);
			if (threadpool == nullptr) {
				_exit(3);
			}
			RunOnce(threadpool.get());
		}
		_exit(testing::Test::HasFailure() ? 1 : 0);
	}
	int status = -1;
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
}
