"""Claims as most tests want them: a process registers and takes one lease."""


async def claim(journal, run, account, process, now, lease_for=30.0):
    return (await journal.claim(run, [account], journal.register(process, lease_for), now))[0]
