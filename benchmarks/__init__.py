"""Side-by-side measurements of homestretch and its peers; each `bench_*` module is a command."""
