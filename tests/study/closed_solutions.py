"""A right program for each shipped task with one right behaviour, in their order: an expression of ``xs``."""

from multitudes.simulate.samples import domain_file

EXPRESSIONS = """
sum(xs)
max(xs,default=0)
min(xs,default=0)
len(xs)
xs[::-1]
sorted(xs)
sorted(xs,reverse=True)
[v for v in xs if v%2==0]
[v for v in xs if v%2]
[2*v for v in xs]
[v*v for v in xs]
list(dict.fromkeys(xs))
[v for v in xs if v>0]
sum(v for v in xs if v%2==0)
sum(v%2 for v in xs)
list(itertools.accumulate(xs))
[b-a for a,b in zip(xs,xs[1:])]
xs==sorted(xs)
len(set(xs))==len(xs)
xs[::2]
xs[:len(xs)//2]
xs[-1] if xs else 0
xs[1:]+xs[:1]
xs[-1:]+xs[:-1]
xs.index(max(xs)) if xs else -1
sorted(set(xs))[-2] if len(set(xs))>1 else 0
max(collections.Counter(xs).values(),default=0)
math.prod(xs)
[i+v for i,v in enumerate(xs)]
[abs(v) for v in xs]
[b for a,b in zip(xs,xs[1:]) if b>a]
[v for v in xs for _ in range(2)]
xs==xs[::-1]
sum(v*v for v in xs)
max(xs)-min(xs) if xs else 0
sum(v<0 for v in xs)
[max(v,0) for v in xs]
[v%3 for v in xs]
sum(xs[::2])
[a+b for a,b in zip(xs,xs[1:])]
[k for k,_ in [(k, len(list(g))) for k, g in itertools.groupby(xs)]]
[n for _,n in [(k, len(list(g))) for k, g in itertools.groupby(xs)]]
max((a+b for a,b in zip(xs,xs[1:])),default=0)
statistics.median_low(xs) if xs else 0
",".join(map(str,xs))
[v for v in xs if xs.count(v)==1]
sum(v>sum(xs)/len(xs) for v in xs) if xs else 0
sorted(xs,key=abs)
next((v for v in xs if v%3==0),-1)
list(itertools.accumulate(xs,max))
xs[-1:]+xs[1:-1]+xs[:1] if len(xs)>1 else xs
sum(int(d) for v in xs for d in str(abs(v)))
sum(xs)%2==0
[min(max(v,0),5) for v in xs]
sorted(xs,key=lambda v:v%2)
sum(xs)-max(xs)-min(xs) if len(xs)>2 else 0
xs[-3:]
len(set(xs))
[max(xs)-v for v in xs]
sum(v*(-1)**i for i,v in enumerate(xs))
"""
TASKS = [task for task, _, _ in domain_file("code-closed")["tasks"]]
SOLUTIONS = dict(zip(TASKS, EXPRESSIONS.strip().splitlines(), strict=True))
PROGRAM = """import collections, itertools, math, statistics


def f(xs):
    return {expression}
"""
