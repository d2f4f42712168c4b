-- A remembered claim lives as long as any lease of it, which may have been extended: looks at
-- those whose time has passed and gives them a later time, or 0 where nothing of them lives.
update replay set until = coalesce((
  select max(max(j.at), ?2 + 1000)
  from json_each(replay.jobs) taken
  cross join job j on j.job = taken.value
  where j.queue = ?1 and j.state = 'L' and j.secret = replay.secret
), 0)
where queue = ?1 and id in (
  select id from replay where queue = ?1 and until <= ?2 order by until limit ?3
)
